//! The little SVG that curves need. Colours are CSS classes, so that they follow the page's theme; what a pointer shows are
//! `<title>` elements of invisible strips, so that no script is needed.

use std::fmt::Write;

use super::page::escape;
use super::read::Series;
use crate::progress::thousands;

/// Size of a plot in its own units; the page scales it.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 18.0;
const BOTTOM: f64 = 46.0;
/// About as many labels as fit.
const X_TICKS: f64 = 7.0;
const Y_TICKS: f64 = 5.0;
/// Curves of more points would be drawn in less than half a unit each.
const MAX_POINTS: usize = 900;
/// Strips for the pointer.
const MAX_STRIPS: usize = 80;

/// A curve of one run.
pub(super) struct Curve {
    pub name: String,
    /// The run's colour, from 0.
    pub color: usize,
    pub points: Series,
    /// Points joined by a dashed line instead of a smoothed line over faint raw values.
    pub sparse: bool,
}

/// A moment worth marking.
#[derive(Clone)]
pub(super) struct Mark {
    pub step: f64,
    /// `resumed`, `skipped` or `signal`; also its CSS class.
    pub kind: String,
    pub hint: String,
}

/// Curves over steps.
pub(super) struct Plot {
    /// For those who cannot see it.
    pub title: String,
    pub y_label: String,
    pub curves: Vec<Curve>,
    pub marks: Vec<Mark>,
    pub log: bool,
    /// Whether 0 belongs on the axis.
    pub from_zero: bool,
    /// Values that follow from the recipe are shown as they are, others as a moving average too.
    pub exact: bool,
}

/// Maps values to positions.
struct Axis {
    low: f64,
    high: f64,
    log: bool,
    ticks: Vec<f64>,
}

impl Axis {
    fn linear(least: f64, most: f64, num_ticks: f64) -> Self {
        let span = if most > least { most - least } else { most.abs().max(1e-12) * 0.1 };
        let step = round_step(span / num_ticks);
        let (first, last) = ((least / step).floor(), (most / step).ceil().max((least / step).floor() + 1.0));
        let ticks = (0..=(last - first) as u32).map(|i| (first + f64::from(i)) * step).collect();
        Self { low: first * step, high: last * step, log: false, ticks }
    }

    /// Round numbers, evenly spread on a logarithmic scale as far as there are any.
    fn logarithmic(least: f64, most: f64) -> Self {
        let decades = (most / least).log10();
        let units: &[f64] = match decades {
            ..0.35 => &[1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0],
            ..1.2 => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0],
            ..3.0 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let first = least.log10().floor() as i32;
        let last = most.log10().ceil() as i32;
        let every = ((last - first) as usize).div_ceil(6).max(1);
        let powers = (first..=last).step_by(if units.len() == 1 { every } else { 1 });
        let all: Vec<f64> = powers.flat_map(|power| units.iter().map(move |unit| unit * 10f64.powi(power))).collect();
        let low = all.iter().copied().filter(|tick| *tick <= least * 1.000_001).fold(least, |_, tick| tick);
        let high = all.iter().copied().find(|tick| *tick >= most * 0.999_999).unwrap_or(most);
        let ticks = all.into_iter().filter(|tick| (low..=high).contains(tick)).collect();
        Self { low, high, log: true, ticks }
    }

    /// 0 at the low end, 1 at the high one.
    fn share(&self, value: f64) -> f64 {
        let share = match self.log {
            true => (value.max(f64::MIN_POSITIVE) / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.5 }
    }
}

impl Plot {
    /// The plot as an `<svg>` element; `None` where no curve has a point.
    pub fn render(&self) -> Option<String> {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let (x_axis, y_axis) = (self.x_axis()?, self.y_axis()?);
        let x = |step: f64| LEFT + (WIDTH - LEFT - RIGHT) * x_axis.share(step);
        let y = |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - y_axis.share(value));
        let is_shown = |value: f64| !self.log || value > 0.0;
        let scale = if self.log { ", logarithmic scale" } else { "" };
        let label = format!("{}: {} by step{scale}", self.title, self.y_label);
        let mut svg =
            format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n", escape(&label));
        self.render_axes(&x_axis, &y_axis, &x, &y, &mut svg);
        self.render_marks(&x_axis, &x, &mut svg);
        debug_assert!(points().next().is_some());
        for curve in &self.curves {
            let points: Vec<(f64, f64)> = curve.points.iter().copied().filter(|(_, value)| is_shown(*value)).collect();
            let place = |points: &[(f64, f64)]| points.iter().map(|(s, v)| (x(*s), y(*v))).collect::<Vec<_>>();
            let color = color(curve.color);
            if curve.sparse {
                let placed = place(&thinned(&points, MAX_POINTS / 4));
                let _ = writeln!(svg, "<path class=\"curve sparse {color}\" d=\"{}\"/>", path(&placed));
                for (x, y) in placed.iter().take(120) {
                    let _ = writeln!(svg, "<circle class=\"dot {color}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.4\"/>");
                }
                continue;
            }
            let smooth = self.shown(curve, &points);
            if smooth != points {
                let raw = path(&place(&thinned(&points, MAX_POINTS)));
                let _ = writeln!(svg, "<path class=\"curve raw {color}\" d=\"{raw}\"/>");
            }
            let _ =
                writeln!(svg, "<path class=\"curve {color}\" d=\"{}\"/>", path(&place(&thinned(&smooth, MAX_POINTS))));
        }
        self.render_strips(&x_axis, &x, &mut svg);
        Some(svg + "</svg>\n")
    }

    fn x_axis(&self) -> Option<Axis> {
        let steps = || self.curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.0));
        let last = steps().reduce(f64::max)?.max(1.0);
        let step = round_step(last / X_TICKS).max(1.0);
        // The axis ends with the run: round ticks, no empty space to the right.
        let ticks = (0..=(last / step) as u32).map(|i| f64::from(i) * step).collect();
        Some(Axis { low: 0.0, high: last, log: false, ticks })
    }

    /// The values that count: spikes beyond all measure (1 value in 200) may leave the picture.
    fn y_axis(&self) -> Option<Axis> {
        let mut values: Vec<f64> = self.curves.iter().flat_map(|curve| curve.points.iter().map(|p| p.1)).collect();
        values.retain(|value| value.is_finite() && (!self.log || *value > 0.0));
        values.sort_by(f64::total_cmp);
        let (&least, &most) = (values.first()?, values.last()?);
        let high = values[(values.len() - 1) * 199 / 200];
        let most = if most > 3.0 * high && values.len() > 200 { high * 1.1 } else { most };
        match self.log {
            true => Some(Axis::logarithmic(least, most)),
            false => Some(Axis::linear(if self.from_zero { least.min(0.0) } else { least }, most, Y_TICKS)),
        }
    }

    fn render_axes(
        &self,
        x_axis: &Axis,
        y_axis: &Axis,
        x: &dyn Fn(f64) -> f64,
        y: &dyn Fn(f64) -> f64,
        svg: &mut String,
    ) {
        let right = WIDTH - RIGHT;
        for &tick in &y_axis.ticks {
            let at = y(tick);
            let _ = writeln!(svg, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>");
            let (label, left, at) = (compact(tick), LEFT - 7.0, at + 3.5);
            let _ = writeln!(svg, "<text x=\"{left}\" y=\"{at:.1}\" text-anchor=\"end\">{label}</text>");
        }
        let ground = HEIGHT - BOTTOM;
        let _ = writeln!(svg, "<line class=\"ground\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{ground}\" y2=\"{ground}\"/>");
        for &tick in &x_axis.ticks {
            let (at, below, label) = (x(tick), ground + 4.0, thousands(tick as u64));
            let _ =
                writeln!(svg, "<line class=\"ground\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{ground}\" y2=\"{below}\"/>");
            let below = ground + 17.0;
            let _ = writeln!(svg, "<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{label}</text>");
        }
        let (middle, low) = (LEFT + (WIDTH - LEFT - RIGHT) / 2.0, HEIGHT - 8.0);
        let _ = writeln!(svg, "<text class=\"axis\" x=\"{middle}\" y=\"{low}\" text-anchor=\"middle\">step</text>");
        let (middle, label) = (TOP + (HEIGHT - TOP - BOTTOM) / 2.0, escape(&self.y_label));
        let scale = if self.log { ", log scale" } else { "" };
        let _ = writeln!(
            svg,
            "<text class=\"axis\" transform=\"translate(12 {middle}) rotate(-90)\" text-anchor=\"middle\">{label}{scale}</text>"
        );
    }

    fn render_marks(&self, x_axis: &Axis, x: &dyn Fn(f64) -> f64, svg: &mut String) {
        let ground = HEIGHT - BOTTOM;
        for mark in self.marks.iter().filter(|mark| mark.step <= x_axis.high) {
            let (at, kind) = (x(mark.step), escape(&mark.kind));
            let (top, end) = (TOP - 9.0, if mark.kind == "skipped" { TOP } else { ground });
            let _ = writeln!(
                svg,
                "<g class=\"mark {kind}\"><title>{}</title><line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{end}\"/>\
                 <path d=\"M{:.1} {top}h7l-3.5 7z\"/></g>",
                escape(&mark.hint),
                at - 3.5
            );
        }
    }

    /// What the bold line shows of a curve's `points`.
    fn shown(&self, curve: &Curve, points: &[(f64, f64)]) -> Series {
        if curve.sparse || self.exact { points.to_vec() } else { smoothed(points) }
    }

    /// Strips that show their values when the pointer rests on them.
    fn render_strips(&self, x_axis: &Axis, x: &dyn Fn(f64) -> f64, svg: &mut String) {
        let mut steps: Vec<f64> = self.curves.iter().flat_map(|curve| curve.points.iter().map(|p| p.0)).collect();
        steps.sort_by(f64::total_cmp);
        steps.dedup();
        let every = steps.len().div_ceil(MAX_STRIPS).max(1);
        let steps: Vec<f64> = steps.into_iter().step_by(every).collect();
        let smooth: Vec<Series> = self.curves.iter().map(|curve| self.shown(curve, &curve.points)).collect();
        for (index, &step) in steps.iter().enumerate() {
            let left = if index == 0 { x(x_axis.low) } else { x((steps[index - 1] + step) / 2.0) };
            let right = steps.get(index + 1).map_or(WIDTH - RIGHT, |next| x((step + next) / 2.0));
            let mut hint = format!("step {}", thousands(step as u64));
            for (curve, points) in self.curves.iter().zip(&smooth) {
                if let Some((_, value)) = points.iter().rfind(|(at, _)| *at <= step) {
                    let _ = write!(hint, "\n{}: {}", curve.name, significant(*value));
                }
            }
            let (width, height, hint) = ((right - left).max(0.5), HEIGHT - TOP - BOTTOM, escape(&hint));
            let _ = writeln!(
                svg,
                "<rect class=\"strip\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height}\"><title>{hint}</title></rect>"
            );
        }
    }
}

/// CSS class of a run's colour.
pub(super) fn color(index: usize) -> String {
    format!("c{}", index % 6 + 1)
}

/// Number of values that smoothing averages over, in effect: a fiftieth of all, and nothing for short series.
pub(super) fn smoothing(num_points: usize) -> usize {
    if num_points < 30 { 1 } else { (num_points / 50).clamp(3, 200) }
}

/// Exponential moving average with its start corrected (each value is a weighted mean of those so far).
fn smoothed(points: &[(f64, f64)]) -> Series {
    let decay = 1.0 - 1.0 / smoothing(points.len()) as f64;
    let (mut sum, mut weight) = (0.0, 0.0);
    let mut next = |value: f64| {
        sum = sum * decay + value;
        weight = weight * decay + 1.0;
        sum / weight
    };
    points.iter().map(|(step, value)| (*step, next(*value))).collect()
}

/// At most about `most` points that keep peaks: of each group the lowest and the highest.
fn thinned(points: &[(f64, f64)], most: usize) -> Series {
    if points.len() <= most {
        return points.to_vec();
    }
    let group = (2 * points.len()).div_ceil(most);
    let ends = |group: &[(f64, f64)]| {
        let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let (low, high) = (group.iter().min_by(by_value).copied(), group.iter().max_by(by_value).copied());
        let mut ends: Series = low.into_iter().chain(high).collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        ends.dedup();
        ends
    };
    points.chunks(group).flat_map(ends).collect()
}

fn path(points: &[(f64, f64)]) -> String {
    let mut d = String::new();
    for (index, (x, y)) in points.iter().enumerate() {
        let _ = write!(d, "{}{x:.1} {y:.1}", if index == 0 { "M" } else { "L" });
    }
    if points.len() == 1 {
        d.push_str("h0.1");
    }
    d
}

/// The smallest of 1, 2, 2.5 and 5 times a power of ten that is at least `least`.
fn round_step(least: f64) -> f64 {
    if least <= 0.0 || !least.is_finite() {
        return 1.0;
    }
    let power = 10f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0].map(|unit| unit * power);
    steps.into_iter().find(|step| *step >= least * 0.999_999).unwrap_or(10.0 * power)
}

/// A number for a tick: `1500` as `1.5k`, `0.0005` as `5e-4`.
fn compact(value: f64) -> String {
    let size = value.abs();
    let (scaled, unit) = match size {
        1e9.. => (value / 1e9, "G"),
        1e6.. => (value / 1e6, "M"),
        1e4.. => (value / 1e3, "k"),
        _ => (value, ""),
    };
    if size > 0.0 && size < 0.01 {
        let power = size.log10().floor() as i32;
        let digits = trimmed(&format!("{:.2}", value / 10f64.powi(power)));
        return format!("{digits}e{power}");
    }
    trimmed(&format!("{scaled:.3}")) + unit
}

/// Four digits that matter.
pub(super) fn significant(value: f64) -> String {
    let size = value.abs();
    match size {
        0.0 => "0".to_owned(),
        1000.0.. => thousands(value.round() as u64),
        0.001.. => {
            let decimals = (3 - size.log10().floor() as i32).max(0) as usize;
            format!("{value:.decimals$}")
        }
        _ => format!("{value:.2e}"),
    }
}

fn trimmed(number: &str) -> String {
    if !number.contains('.') {
        return number.to_owned();
    }
    number.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: Series, log: bool) -> Plot {
        let curve = Curve { name: "a<b".to_owned(), color: 0, points, sparse: false };
        let (title, y_label) = ("loss".to_owned(), "nats".to_owned());
        Plot { title, y_label, curves: vec![curve], marks: Vec::new(), log, from_zero: false, exact: false }
    }

    #[test]
    fn ticks_are_round_and_enclose_the_values() {
        for (least, most) in [(1.2, 10.4), (0.681, 0.6812), (5.0, 5.0), (0.0, 0.0), (0.00012, 0.006), (3e4, 9e5)] {
            let axis = Axis::linear(least, most, Y_TICKS);
            assert!(axis.low <= least && axis.high >= most && (2..9).contains(&axis.ticks.len()), "{:?}", axis.ticks);
        }
        assert_eq!(Axis::linear(1.2, 10.4, Y_TICKS).ticks, [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
        for (least, most) in [(1.2, 10.4), (0.69, 0.7), (1e-3, 65_536.0), (2.0, 2.0)] {
            let axis = Axis::logarithmic(least, most);
            assert!(axis.low <= least && axis.high >= most && (1..14).contains(&axis.ticks.len()), "{:?}", axis.ticks);
        }
    }

    #[test]
    fn numbers_are_short() {
        let ticks = [0.0, 2.5, 0.693, 1500.0, 20_000.0, 2.5e6, 0.0005, -0.25].map(compact);
        assert_eq!(ticks, ["0", "2.5", "0.693", "1500", "20k", "2.5M", "5e-4", "-0.25"]);
        assert_eq!(
            [5.43219, 0.68315, 12_345.6, 0.0004, 43.21].map(significant),
            ["5.432", "0.6832", "12,346", "4.00e-4", "43.21"]
        );
    }

    #[test]
    fn smoothing_keeps_a_constant_and_the_ends_of_short_series() {
        let constant: Series = (0..100).map(|i| (f64::from(i), 3.0)).collect();
        assert!(smoothed(&constant).iter().all(|(_, value)| (value - 3.0).abs() < 1e-12));
        let short = vec![(1.0, 5.0), (2.0, 9.0)];
        assert_eq!(smoothed(&short), short);
    }

    #[test]
    fn thinning_keeps_peaks_and_order() {
        let mut points: Series = (0..10_000).map(|i| (f64::from(i), 1.0)).collect();
        points[4_321].1 = 50.0;
        let thin = thinned(&points, 900);
        assert!(thin.len() <= 900 && thin.contains(&(4_321.0, 50.0)));
        assert!(thin.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn a_plot_is_well_formed_and_higher_values_stand_higher() {
        let svg = plot(vec![(1.0, 10.0), (2.0, 5.0), (3.0, 1.0)], false).render().unwrap();
        assert!(svg.contains("a&lt;b: 10.00") && svg.contains("step 2") && !svg.contains("NaN"), "{svg}");
        let d = svg.split("class=\"curve c1\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        let heights: Vec<f64> =
            d.split(['M', 'L']).skip(1).map(|point| point.split(' ').nth(1).unwrap().parse().unwrap()).collect();
        assert!(heights[0] < heights[1] && heights[1] < heights[2], "{d}");
        assert!(plot(Vec::new(), false).render().is_none());
        assert!(plot(vec![(1.0, 0.0)], true).render().is_none(), "nothing to show on a logarithmic axis");
    }
}
