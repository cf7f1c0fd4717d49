//! Which curves there are, and the lengths of the data.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::page::{card, escape, legend};
use super::plot::{Curve, Mark, Plot, smoothing};
use super::read::Run;
use crate::progress::thousands;

/// A switch between linear and logarithmic losses that needs no script: the style sheet looks at it.
pub(super) const SCALE: &str = "<p class=\"scale\"><span>Losses</span><label><input type=\"radio\" name=\"scale\" checked> linear</label>\
     <label><input type=\"radio\" name=\"scale\" id=\"log\"> logarithmic</label></p>\n";

/// What the log's columns are called, their unit, and whether 0 belongs on their axis. Losses come first and in both scales.
const LOSSES: [(&str, &str, &str); 3] = [
    ("masked_lm_loss", "Masked-LM loss", "nats per masked token"),
    ("next_sentence_loss", "Next-sentence loss", "nats per instance"),
    ("loss", "Loss", "nats"),
];
const OTHERS: [(&str, &str, &str, bool); 10] = [
    ("masked_lm_accuracy", "Masked-LM accuracy", "share of masked tokens", false),
    ("next_sentence_accuracy", "Next-sentence accuracy", "share of instances", false),
    ("accuracy", "Accuracy", "share of examples", false),
    ("learning_rate", "Learning rate", "rate", true),
    ("gradient_norm", "Gradient norm", "L2 norm before clipping", true),
    ("loss_scale", "Loss scale", "factor", true),
    ("sequences_per_s", "Sequences per second", "sequences/s", true),
    ("tokens_per_s", "Tokens per second", "tokens/s, no padding", true),
    ("mfu", "Model FLOPs utilisation", "share of matrix-product speed", true),
    ("data_wait_share", "Waiting for data", "share of time", true),
];
/// Marks of a run in each plot, the newest ones: with dynamic loss scaling many steps may be skipped.
const MAX_MARKS: usize = 200;
/// Columns that no plot is of.
const NO_SCORES: [&str; 2] = ["step", "time"];

/// A card per plot, and whether any has two scales.
pub(super) fn curves(runs: &[Run]) -> (Vec<String>, bool) {
    let mut cards = Vec::new();
    // Of pre-training, the sum of both losses tells less than each.
    let has_parts = runs.iter().any(|run| !run.trained("masked_lm_loss").is_empty());
    for (key, title, unit) in LOSSES.iter().filter(|(key, ..)| *key != "loss" || !has_parts) {
        let mut plot = plot(runs, key, title, unit);
        let Some(linear) = plot.render() else { continue };
        plot.log = true;
        let both = match plot.render() {
            Some(log) => format!("<div class=\"linear\">\n{linear}</div>\n<div class=\"logarithmic\">\n{log}</div>\n"),
            None => linear,
        };
        cards.push(plot_card(title, runs, &plot, &both));
    }
    let has_scale = !cards.is_empty();
    for (key, title, unit, from_zero) in OTHERS {
        let mut plot = plot(runs, key, title, unit);
        plot.from_zero = from_zero;
        // Loss scales are powers of two.
        plot.log = key == "loss_scale";
        cards.extend(plot.render().map(|svg| plot_card(title, runs, &plot, &svg)));
    }
    for key in scores(runs) {
        let plot = plot(runs, &key, &key, "score");
        cards.extend(plot.render().map(|svg| plot_card(&key, runs, &plot, &svg)));
    }
    if cards.len() % 2 == 1 {
        cards.push("<section class=\"filler\" aria-hidden=\"true\"></section>\n".to_owned());
    }
    (cards, has_scale)
}

/// Scores of evaluations that no other plot shows.
fn scores(runs: &[Run]) -> BTreeSet<String> {
    let rows = runs.iter().flat_map(|run| &run.measurements).filter_map(|row| row.as_object());
    let is_new = |key: &str| {
        !NO_SCORES.contains(&key)
            && LOSSES.iter().all(|(known, ..)| *known != key)
            && OTHERS.iter().all(|(known, ..)| *known != key)
    };
    let numbers = rows.flat_map(|row| row.iter().filter(|(_, value)| value.is_f64()));
    numbers.map(|(key, _)| key.clone()).filter(|key| is_new(key)).collect()
}

fn plot(runs: &[Run], key: &str, title: &str, unit: &str) -> Plot {
    let mut curves = Vec::new();
    for (color, run) in runs.iter().enumerate() {
        let name = |what: &str| if runs.len() == 1 { what.to_owned() } else { format!("{}, {what}", run.name) };
        for (what, points, sparse) in [("training", run.trained(key), false), ("held-out", run.measured(key), true)] {
            if !points.is_empty() {
                curves.push(Curve { name: name(what), color, points, sparse });
            }
        }
    }
    let mark = |run: &Run| -> Vec<Mark> {
        let prefix = if runs.len() == 1 { String::new() } else { format!("{}: ", run.name) };
        let hint =
            |step: u64, kind: &str, message: &str| format!("{prefix}{kind} after step {}: {message}", thousands(step));
        let happenings = run.happenings();
        let first = happenings.len().saturating_sub(MAX_MARKS);
        happenings
            .into_iter()
            .skip(first)
            .map(|h| Mark { step: h.step as f64, hint: hint(h.step, &h.kind, &h.message), kind: h.kind })
            .collect()
    };
    Plot {
        title: title.to_owned(),
        y_label: unit.to_owned(),
        curves,
        marks: runs.iter().flat_map(mark).collect(),
        log: false,
        from_zero: false,
        exact: ["learning_rate", "loss_scale"].contains(&key),
    }
}

fn plot_card(title: &str, runs: &[Run], plot: &Plot, svg: &str) -> String {
    let longest = plot.curves.iter().filter(|curve| !curve.sparse).map(|curve| curve.points.len()).max().unwrap_or(0);
    let mut notes = Vec::new();
    if plot.curves.iter().any(|curve| curve.sparse) && plot.curves.iter().any(|curve| !curve.sparse) {
        notes.push("training, and held-out dashed".to_owned());
    } else if plot.curves.iter().all(|curve| curve.sparse) {
        notes.push("held-out".to_owned());
    }
    if smoothing(longest) > 1 && !plot.exact {
        notes.push(format!("averaged over about {} rows", smoothing(longest)));
    }
    let legend = if runs.len() > 1 { legend(runs) } else { String::new() };
    card(title, &notes.join(", "), "plot", &format!("{svg}{legend}"))
}

/// What the runs learnt from: a histogram per dataset.
pub(super) fn datasets(runs: &[Run]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut cards = Vec::new();
    for run in runs {
        let Some(data) = run.fact("/data") else { continue };
        if !seen.insert(data["manifest"].to_string()) {
            continue;
        }
        let counts: Vec<u64> =
            data["length_histogram"].as_array().into_iter().flatten().filter_map(|count| count.as_u64()).collect();
        let number = |key: &str| data[key].as_u64().map_or_else(|| "?".to_owned(), thousands);
        let title = if seen.len() == 1 { "Lengths".to_owned() } else { format!("Lengths, data of {}", run.name) };
        let note = format!(
            "{} instances, {} tokens, {:.1} each on average; {}",
            number("num_instances"),
            number("num_tokens"),
            data["mean_len"].as_f64().unwrap_or(0.0),
            data["dir"].as_str().unwrap_or_default()
        );
        cards.extend(histogram(&counts).map(|svg| card(&title, &note, "", &svg)));
    }
    cards
}

/// Instances by length.
fn histogram(counts: &[u64]) -> Option<String> {
    const MAX_BARS: usize = 130;
    let (width, height, left, top, ground) = (560.0, 236.0, 58.0, 14.0, 190.0);
    let first = counts.iter().position(|&count| count > 0)?;
    let last = counts.iter().rposition(|&count| count > 0)?;
    let group = (last + 1 - first).div_ceil(MAX_BARS);
    let start = first / group * group;
    let bars: Vec<(usize, u64)> = (start..=last)
        .step_by(group)
        .map(|low| (low, counts[low..(low + group).min(counts.len())].iter().sum()))
        .collect();
    let mut heights: Vec<u64> = bars.iter().map(|bar| bar.1).filter(|&count| count > 0).collect();
    heights.sort_unstable();
    let (most, median) = (*heights.last()? as f64, heights[heights.len() / 2] as f64);
    // One bar far above all others would leave nothing to see of them.
    let log = most > 40.0 * median;
    let share = |count: f64| if log { (1.0 + count).ln() / (1.0 + most).ln() } else { count / most };
    let ticks: Vec<f64> = match log {
        true => (0..=most.log10() as i32).map(|power| 10f64.powi(power)).chain([0.0]).collect(),
        false => vec![0.0, most / 2.0, most],
    };
    let bar_width = (width - left - 14.0) / bars.len() as f64;
    let mut svg =
        format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"instances by length in tokens\">\n");
    for tick in ticks {
        let (y, label) = (ground - share(tick) * (ground - top), thousands(tick.round() as u64));
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{left}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            width - 14.0,
            left - 7.0,
            y + 3.5
        );
    }
    let every = bars.len().div_ceil(8);
    for (index, (low, count)) in bars.iter().enumerate() {
        let x = left + index as f64 * bar_width;
        let tall = share(*count as f64) * (ground - top);
        let range = if group == 1 { low.to_string() } else { format!("{low} to {}", low + group - 1) };
        let _ = writeln!(
            svg,
            "<rect class=\"bar\" x=\"{x:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{tall:.2}\"><title>{} tokens: {} instances</title></rect>",
            ground - tall,
            (bar_width - 0.5).max(0.5),
            escape(&range),
            thousands(*count)
        );
        if index % every == 0 {
            let (x, y) = (x + bar_width / 2.0, ground + 17.0);
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{low}</text>");
        }
    }
    let label = if group == 1 { "tokens".to_owned() } else { format!("tokens, {group} per bar") };
    let (x, y) = (left + (width - left) / 2.0, height - 8.0);
    let _ = writeln!(svg, "<text class=\"axis\" x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{label}</text>");
    let (middle, scale) = ((top + ground) / 2.0, if log { ", log scale" } else { "" });
    let _ = writeln!(
        svg,
        "<text class=\"axis\" transform=\"translate(12 {middle}) rotate(-90)\" text-anchor=\"middle\">instances{scale}</text>"
    );
    Some(svg + "</svg>\n")
}
