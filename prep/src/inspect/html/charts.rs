//! Figures of a dataset as plots.

use super::escape;
use super::svg::{Bar, Plot};
use crate::inspect::numbers::{percent, plural, thousands};

/// More bars than this would be thinner than a line.
const MAX_BARS: usize = 130;
/// Shards beyond this many are shown in groups.
const MAX_SHARDS: usize = 128;
/// With a highest bar so many times the median one, the rest would be invisible on a linear axis.
const SPREAD: u64 = 40;

/// Counts by number: entry `n` of `counts` is how many `counted` have `n` `unit`.
pub(super) fn histogram(title: &str, unit: &str, counted: &str, counts: &[u64], open_end: bool) -> String {
    let Some(first) = counts.iter().position(|&count| count > 0) else { return nothing() };
    let last = counts.iter().rposition(|&count| count > 0).unwrap_or(first);
    if last > 16 * MAX_BARS {
        return long_tail(title, unit, counted, counts);
    }
    let width = width(last + 1 - first.min(last));
    let start = first / width * width;
    let bars: Vec<Bar> = (start..=last)
        .step_by(width)
        .map(|low| {
            let high = (low + width - 1).min(counts.len() - 1);
            let count = counts[low..=high].iter().sum::<u64>();
            let open = if open_end && high + 1 == counts.len() { " or more" } else { "" };
            let range = if low == high { low.to_string() } else { format!("{low} to {high}") };
            let hint = format!("{range}{open} {unit}: {} {counted}", thousands(count));
            Bar { start: low as f64, end: (low + width) as f64, count: count as f64, hint }
        })
        .collect();
    let per_bar = if width > 1 { format!("{unit}, {width} per bar") } else { unit.to_owned() };
    plot(title, per_bar, counted, bars, Vec::new())
}

/// For numbers of all magnitudes: bars from 1 to 2 to 5 to 10 and so on, equally wide.
fn long_tail(title: &str, unit: &str, counted: &str, counts: &[u64]) -> String {
    let edges: Vec<usize> = (0..).flat_map(|power| [1, 2, 5].map(|unit| unit * 10usize.pow(power))).take(18).collect();
    let steps = edges.windows(2).filter(|edge| edge[0] < counts.len());
    let mut bars: Vec<Bar> = steps
        .enumerate()
        .map(|(i, edge)| {
            let count = counts[edge[0]..edge[1].min(counts.len())].iter().sum::<u64>();
            let (low, high) = (thousands(edge[0] as u64), thousands(edge[1] as u64 - 1));
            let open = if edge[1] >= counts.len() { " or more" } else { "" };
            let hint = format!("{low} to {high}{open} {unit}: {} {counted}", thousands(count));
            Bar { start: i as f64, end: i as f64 + 1.0, count: count as f64, hint }
        })
        .collect();
    let first = bars.iter().position(|bar| bar.count > 0.0).unwrap_or(0);
    bars.drain(..first);
    let ticks = bars.iter().map(|bar| (bar.start, thousands(edges[bar.start as usize] as u64))).collect();
    plot(title, unit.to_owned(), counted, bars, ticks)
}

/// Rows of each shard; of neighbouring ones together where there are many.
pub(super) fn shards(rows: &[u64], row: &str) -> String {
    let group = rows.len().div_ceil(MAX_SHARDS).max(1);
    let bar = |(i, rows): (usize, &[u64])| {
        let mean = rows.iter().sum::<u64>() as f64 / rows.len() as f64;
        let (first, last) = (i * group, i * group + rows.len() - 1);
        let which = if first == last { format!("shard {first}") } else { format!("shards {first} to {last}") };
        let most = rows.iter().copied().max().unwrap_or(0);
        let hint = format!("{which}: {} {}", thousands(mean.round() as u64), plural(most, row));
        Bar { start: first as f64, end: (first + group) as f64, count: mean, hint }
    };
    let bars = rows.chunks(group).enumerate().map(bar).collect();
    let label = if group > 1 { format!("shard, mean of {group} per bar") } else { "shard".to_owned() };
    let mut plot = base("rows per shard", label, &plural(2, row), bars);
    plot.log = false;
    plot.render()
}

/// Shares of a whole as one bar with a legend; each part may have an expected share.
pub(super) fn parts(parts: &[(&str, u64, Option<f64>)]) -> String {
    let whole = parts.iter().map(|(_, count, _)| count).sum::<u64>().max(1) as f64;
    let mut bar = String::from(
        "<svg class=\"parts\" viewBox=\"0 0 560 34\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"shares\">",
    );
    let mut legend = String::from("<table class=\"legend\">");
    let mut x = 0.0;
    for (i, (name, count, expected)) in parts.iter().enumerate() {
        let share = *count as f64 / whole;
        let (width, name, class) = (share * 560.0, escape(name), i % 4 + 1);
        bar += &format!(
            "<rect class=\"part{class}\" x=\"{x:.2}\" y=\"0\" width=\"{width:.2}\" height=\"34\"><title>{name}: {}</title></rect>",
            percent(share)
        );
        let aim =
            expected.map_or_else(String::new, |expected| format!("<td class=\"muted\">aim {}</td>", percent(expected)));
        legend += &format!(
            "<tr><td><span class=\"key part{class}\"></span>{name}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>{aim}</tr>",
            thousands(*count),
            percent(share)
        );
        x += width;
    }
    format!("{bar}</svg>{legend}</table>")
}

fn plot(title: &str, x_label: String, counted: &str, bars: Vec<Bar>, x_ticks: Vec<(f64, String)>) -> String {
    let mut plot = base(title, x_label, counted, bars);
    plot.x_ticks = x_ticks;
    plot.render()
}

fn base(title: &str, x_label: String, counted: &str, bars: Vec<Bar>) -> Plot {
    let mut heights: Vec<u64> = bars.iter().map(|bar| bar.count as u64).filter(|&count| count > 0).collect();
    heights.sort_unstable();
    let median = heights.get(heights.len() / 2).copied().unwrap_or(0);
    let log = heights.len() > 2 && heights.last().is_some_and(|&most| most > SPREAD * median);
    Plot { x_label, y_label: counted.to_owned(), bars, x_ticks: Vec::new(), log, title: title.to_owned() }
}

fn nothing() -> String {
    "<p class=\"muted\">none</p>".to_owned()
}

/// Numbers per bar: a round one, so that there are at most `MAX_BARS`.
fn width(numbers: usize) -> usize {
    let widths = (0..).flat_map(|power| [1, 2, 4, 5, 8].map(|unit| unit * 10usize.pow(power)));
    widths.into_iter().find(|width| numbers.div_ceil(*width) <= MAX_BARS).unwrap_or(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(svg: &str) -> usize {
        svg.matches("class=\"bar\"").count()
    }

    #[test]
    fn every_count_is_in_one_bar() {
        let counts: Vec<u64> = (0..129).map(|n| if n < 5 { 0 } else { n }).collect();
        let svg = histogram("lengths", "tokens", "rows", &counts, false);
        assert_eq!(bars(&svg), 124, "one for each from 5 to 128");
        let shown: u64 = svg
            .split("<title>")
            .skip(1)
            .map(|rest| rest.split(": ").nth(1).unwrap().split(' ').next().unwrap().parse::<u64>().unwrap())
            .sum();
        assert_eq!(shown, counts.iter().sum::<u64>());
        assert_eq!(bars(&histogram("lengths", "tokens", "rows", &[1; 513], false)), 129, "4 per bar");
    }

    #[test]
    fn one_high_bar_among_low_ones_makes_the_axis_logarithmic() {
        let mut counts = vec![10; 100];
        assert!(!histogram("", "", "", &counts, false).contains("log scale"));
        counts[90] = 100_000;
        assert!(histogram("", "", "", &counts, false).contains("log scale"));
    }

    #[test]
    fn long_tails_are_shown_by_magnitude() {
        let mut counts = vec![0; 1 << 16];
        counts[3] = 1;
        counts[60_000] = 4;
        let svg = histogram("", "tokens", "documents", &counts, false);
        assert!(bars(&svg) == 2 && svg.contains("2 to 4 tokens: 1 documents"), "{svg}");
        assert!(svg.contains("50,000 to 99,999 or more tokens: 4 documents"), "{svg}");
    }

    #[test]
    fn shares_add_up_to_the_whole_bar() {
        let html = parts(&[("a<", 300, None), ("b", 100, Some(0.3))]);
        assert!(
            html.contains("width=\"420.00\"") && html.contains("x=\"420.00\"") && html.contains("width=\"140.00\"")
        );
        assert!(html.contains("a&lt;") && html.contains("aim 30.0 %"));
    }

    #[test]
    fn nothing_to_show_is_said() {
        assert!(histogram("", "", "", &[0, 0], false).contains("none"));
    }
}
