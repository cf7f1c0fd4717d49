//! The little SVG that plots need: bars on axes with ticks. Colours are CSS classes, so that they follow the page's theme.

use std::fmt::Write;

use super::escape;
use crate::inspect::numbers::thousands;

/// Size of a plot in its own units; the page scales it.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 236.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 46.0;
/// About as many labels as fit.
const X_TICKS: f64 = 8.0;
const Y_TICKS: f64 = 4.0;

/// A stretch of the x axis with a count.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// Where it starts on the x axis.
    pub start: f64,
    /// Where it ends.
    pub end: f64,
    /// Its height.
    pub count: f64,
    /// What the pointer shows.
    pub hint: String,
}

/// A bar chart.
#[derive(Clone, Debug)]
pub struct Plot {
    /// What the x axis counts.
    pub x_label: String,
    /// What the y axis counts.
    pub y_label: String,
    /// From left to right.
    pub bars: Vec<Bar>,
    /// Positions and texts of the x axis's ticks; empty for round numbers.
    pub x_ticks: Vec<(f64, String)>,
    /// Counts span orders of magnitude: show their logarithm.
    pub log: bool,
    /// For those who cannot see it.
    pub title: String,
}

/// Maps counts to heights.
struct YAxis {
    top: f64,
    log: bool,
    ticks: Vec<f64>,
}

impl YAxis {
    fn new(most: f64, log: bool) -> Self {
        if log {
            let decades = most.max(1.0).log10().ceil().max(1.0) as i32;
            let step = 1 + (decades - 1) / 6;
            let ticks = (0..=decades).step_by(step as usize).map(|power| 10f64.powi(power)).collect();
            return Self { top: 10f64.powi(decades), log, ticks };
        }
        let step = round_step(most / Y_TICKS).max(if most >= 1.0 { 1.0 } else { 0.0 });
        let num_steps = (most / step).ceil().max(1.0);
        Self { top: step * num_steps, log, ticks: (0..=num_steps as u32).map(|i| f64::from(i) * step).collect() }
    }

    /// Distance from the top of the picture. On a logarithmic axis 1 stands a little above the ground, to be seen.
    fn y(&self, count: f64) -> f64 {
        const ONE: f64 = 0.04;
        let share = match self.log {
            false => count / self.top,
            true if count <= 0.0 => 0.0,
            true => ONE + (1.0 - ONE) * (count.max(1.0).log10() / self.top.log10()),
        };
        TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - share.clamp(0.0, 1.0))
    }
}

impl Plot {
    /// The plot as an `<svg>` element.
    pub fn render(&self) -> String {
        let most = self.bars.iter().map(|bar| bar.count).fold(0.0, f64::max);
        let y_axis = YAxis::new(most, self.log);
        let (low, high) = self.range();
        let x = |value: f64| LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low).max(f64::MIN_POSITIVE);
        let mut svg =
            format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n", escape(&self.title));
        self.render_y(&y_axis, &mut svg);
        let ground = y_axis.y(0.0);
        for bar in self.bars.iter().filter(|bar| bar.count > 0.0) {
            let (left, right, y) = (x(bar.start), x(bar.end), y_axis.y(bar.count));
            // A gap between bars as long as they are wide enough for one.
            let gap = match right - left {
                wide if wide > 6.0 => 1.0,
                wide if wide > 3.0 => 0.4,
                _ => 0.0,
            };
            let (width, height) = ((right - left - gap).max(0.5), (ground - y).max(1.0));
            let _ = writeln!(
                svg,
                "<rect class=\"bar\" x=\"{:.2}\" y=\"{:.2}\" width=\"{width:.2}\" height=\"{height:.2}\"><title>{}</title></rect>",
                left + gap / 2.0,
                ground - height,
                escape(&bar.hint)
            );
        }
        self.render_x(&x, ground, &mut svg);
        svg + "</svg>\n"
    }

    fn range(&self) -> (f64, f64) {
        let low = self.bars.first().map_or(0.0, |bar| bar.start);
        (low, self.bars.last().map_or(1.0, |bar| bar.end).max(low + 1e-9))
    }

    fn render_y(&self, axis: &YAxis, svg: &mut String) {
        for &tick in &axis.ticks {
            let y = axis.y(tick);
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
                WIDTH - RIGHT
            );
            let label = compact(tick);
            let _ = writeln!(
                svg,
                "<text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                LEFT - 7.0,
                y + 3.5
            );
        }
        let (middle, scale) = (TOP + (HEIGHT - TOP - BOTTOM) / 2.0, if self.log { ", log scale" } else { "" });
        let _ = writeln!(
            svg,
            "<text class=\"axis\" transform=\"translate(12 {middle:.1}) rotate(-90)\" text-anchor=\"middle\">{}{scale}</text>",
            escape(&self.y_label)
        );
    }

    fn render_x(&self, x: &dyn Fn(f64) -> f64, ground: f64, svg: &mut String) {
        let _ = writeln!(
            svg,
            "<line class=\"ground\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{ground:.1}\" y2=\"{ground:.1}\"/>",
            WIDTH - RIGHT
        );
        let (low, high) = self.range();
        let ticks = if self.x_ticks.is_empty() { round_ticks(low, high) } else { self.x_ticks.clone() };
        for (value, label) in ticks.iter().filter(|(value, _)| (low..=high).contains(value)) {
            let at = x(*value);
            let _ = writeln!(
                svg,
                "<line class=\"ground\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{ground:.1}\" y2=\"{:.1}\"/>",
                ground + 4.0
            );
            let _ = writeln!(
                svg,
                "<text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                ground + 17.0,
                escape(label)
            );
        }
        let middle = LEFT + (WIDTH - LEFT - RIGHT) / 2.0;
        let _ = writeln!(
            svg,
            "<text class=\"axis\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 8.0,
            escape(&self.x_label)
        );
    }
}

/// Round numbers between `low` and `high`; each stands under the middle of its unit, where the bar for it is.
fn round_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let step = round_step((high - low) / X_TICKS).max(1.0);
    let first = (low / step).ceil() as u64;
    let last = ((high - 0.5) / step).floor() as u64;
    (first..=last).map(|i| i as f64 * step).map(|value| (value + 0.5, thousands(value as u64))).collect()
}

/// The smallest of 1, 2, 2.5 (from 25 on) and 5 times a power of ten that is at least `least`.
fn round_step(least: f64) -> f64 {
    if least <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|unit| unit * power);
    steps
        .into_iter()
        .filter(|step| power >= 10.0 || *step != 2.5 * power)
        .find(|step| *step >= least * 0.999_999)
        .unwrap_or(10.0 * power)
}

/// `1500` as `1.5k`, for ticks.
fn compact(value: f64) -> String {
    let (scaled, unit) = match value {
        v if v >= 1e9 => (v / 1e9, "G"),
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e3 => (v / 1e3, "k"),
        v => (v, ""),
    };
    let text = format!("{scaled:.2}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_large_enough() {
        let steps = [0.3, 1.0, 1.1, 3.0, 16.0, 21.0, 230.0, 260.0].map(round_step);
        assert_eq!(steps, [0.5, 1.0, 2.0, 5.0, 20.0, 25.0, 250.0, 500.0]);
    }

    #[test]
    fn ticks_are_short() {
        assert_eq!([0.0, 5.0, 250.0, 1_500.0, 20_000.0, 2.5e6].map(compact), ["0", "5", "250", "1.5k", "20k", "2.5M"]);
    }

    #[test]
    fn y_axis_reaches_above_the_highest_bar() {
        for most in [1.0, 7.0, 99.0, 100.0, 73_446.0] {
            for log in [false, true] {
                let axis = YAxis::new(most, log);
                assert!(axis.top >= most && axis.ticks.len() >= 2, "{most} {log}: {:?}", axis.ticks);
                assert!(axis.y(most) >= TOP && axis.y(most) < axis.y(0.0));
            }
        }
    }

    #[test]
    fn a_plot_has_a_bar_per_count_and_escapes_its_texts() {
        let bar = |start: f64, count| Bar { start, end: start + 1.0, count, hint: "a<b & \"c\"".to_owned() };
        let plot = Plot {
            x_label: "tokens".to_owned(),
            y_label: "rows".to_owned(),
            bars: vec![bar(0.0, 5.0), bar(1.0, 0.0), bar(2.0, 10.0)],
            x_ticks: Vec::new(),
            log: false,
            title: "lengths".to_owned(),
        };
        let svg = plot.render();
        assert_eq!(svg.matches("class=\"bar\"").count(), 2, "{svg}");
        assert!(svg.contains("a&lt;b &amp; &quot;c&quot;"));
        // The higher bar is twice as high as the other.
        let heights: Vec<f64> =
            svg.split(" height=\"").skip(1).map(|rest| rest[..rest.find('"').unwrap()].parse().unwrap()).collect();
        assert!((heights[1] - 2.0 * heights[0]).abs() < 0.02, "{heights:?}");
    }
}
