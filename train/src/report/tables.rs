//! Facts of runs beside each other.

use std::collections::BTreeMap;

use serde_json::Value;

use super::page::escape;
use super::plot::{color, significant, smoothing};
use super::read::Run;
use crate::progress::{duration, thousands};

/// Labels, and a text per run; empty where a run has none.
pub(super) type Rows = Vec<(String, Vec<String>)>;

/// A table with a column per run.
pub(super) fn compare(rows: &Rows, runs: &[Run], mark: bool) -> String {
    let is_one = runs.len() == 1;
    let name = |(index, run): (usize, &Run)| {
        format!("<th class=\"n\"><span class=\"key {}\"></span>{}</th>", color(index), escape(&run.name))
    };
    let names: String = runs.iter().enumerate().map(name).collect();
    let head = if is_one { String::new() } else { format!("<tr><th></th>{names}</tr>\n") };
    let row = |(label, texts): &(String, Vec<String>)| {
        let differs = mark && texts.iter().any(|text| *text != texts[0]);
        let class = if differs { " class=\"differs\"" } else { "" };
        let cells: String = texts.iter().map(|text| format!("<td class=\"n name\">{}</td>", escape(text))).collect();
        format!("<tr{class}><td>{}</td>{cells}</tr>\n", escape(label))
    };
    format!(
        "<div class=\"scroll\"><table class=\"facts\">{head}{}</table></div>\n",
        rows.iter().map(row).collect::<String>()
    )
}

/// What became of the runs.
pub(super) fn summary(runs: &[Run]) -> Rows {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let rate = |rate: f64| if rate < 100.0 { format!("{rate:.1}") } else { thousands(rate as u64) };
    let mut rows = Rows::new();
    let mut add = |label: &str, text: &dyn Fn(&Run) -> Option<String>| {
        let texts: Vec<String> = runs.iter().map(|run| text(run).unwrap_or_default()).collect();
        if texts.iter().any(|text| !text.is_empty()) {
            rows.push((label.to_owned(), texts));
        }
    };
    add("task", &|run| Some(run.fact("/task")?.as_str()?.to_owned()));
    add("parameters", &|run| run.fact("/num_parameters")?.as_u64().map(thousands));
    add("steps", &|run| Some(steps(run)));
    add("epochs", &|run| Some(format!("{:.2}", run.steps.last()?["epoch"].as_f64()?)));
    add("time trained", &|run| run.steps.last()?["seconds"].as_f64().map(duration));
    for (key, name) in
        [("masked_lm_loss", "masked-LM loss"), ("next_sentence_loss", "next-sentence loss"), ("loss", "loss")]
    {
        add(name, &|run| settled(run, key).map(significant));
        add(&format!("{name}, held-out"), &|run| run.measured(key).last().map(|point| significant(point.1)));
    }
    for (key, name) in [
        ("masked_lm_accuracy", "masked-LM accuracy"),
        ("next_sentence_accuracy", "next-sentence accuracy"),
        ("accuracy", "accuracy"),
    ] {
        add(name, &|run| settled(run, key).map(percent));
        add(&format!("{name}, held-out"), &|run| run.measured(key).last().map(|point| percent(point.1)));
    }
    add("sequences per second", &|run| median(run, "sequences_per_s").map(rate));
    add("tokens per second, no padding", &|run| median(run, "tokens_per_s").map(rate));
    add("tokens per second, with padding", &|run| median(run, "padded_tokens_per_s").map(rate));
    add("model FLOPs utilisation", &|run| median(run, "mfu").map(percent));
    add("time waiting for data", &|run| median(run, "data_wait_share").map(percent));
    add("steps skipped", &|run| run.steps.last()?["num_skipped"].as_u64().map(thousands));
    add("times resumed", &|run| run.attempts.len().checked_sub(1).map(|times| times.to_string()));
    rows
}

fn steps(run: &Run) -> String {
    let step = thousands(run.last_step());
    match run.fact("/total_steps").and_then(Value::as_u64) {
        Some(total) if total == run.last_step() => format!("{step}, all"),
        Some(total) => format!("{step} of {}", thousands(total)),
        None => step,
    }
}

/// Mean of the newest values of `key`, as many as its curve is smoothed over.
pub(super) fn settled(run: &Run, key: &str) -> Option<f64> {
    let values = run.trained(key);
    let newest = &values[values.len().saturating_sub(smoothing(values.len()))..];
    (!newest.is_empty()).then(|| newest.iter().map(|point| point.1).sum::<f64>() / newest.len() as f64)
}

/// The middle value of `key`, which a pause does not move.
pub(super) fn median(run: &Run, key: &str) -> Option<f64> {
    let mut values: Vec<f64> = run.trained(key).into_iter().map(|point| point.1).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The recipes, setting by setting.
pub(super) fn recipe(runs: &[Run]) -> Rows {
    by_key(runs, "/recipe")
}

/// The shapes of the models.
pub(super) fn model(runs: &[Run]) -> Rows {
    by_key(runs, "/model")
}

/// Where the runs computed, and with what.
pub(super) fn machine(runs: &[Run]) -> Rows {
    let mut rows = by_key(runs, "/machine");
    rows.extend(by_key(runs, "/versions"));
    for (pointer, label, text) in [
        ("/world/world_size", "processes", (|value: f64| thousands(value as u64)) as fn(f64) -> String),
        ("/matmul_flops_per_s", "matrix products, all processes", |value| format!("{:.1} GFLOP/s", value / 1e9)),
    ] {
        let fact = |run: &Run| run.fact(pointer).and_then(Value::as_f64).map(text).unwrap_or_default();
        let texts: Vec<String> = runs.iter().map(fact).collect();
        if texts.iter().any(|text| !text.is_empty()) {
            rows.push((label.to_owned(), texts));
        }
    }
    rows
}

/// The values of the object at `pointer` of each run, flattened.
fn by_key(runs: &[Run], pointer: &str) -> Rows {
    let mut rows = BTreeMap::<String, Vec<String>>::new();
    for (index, run) in runs.iter().enumerate() {
        let mut leaves = Vec::new();
        flatten("", run.fact(pointer).unwrap_or(&Value::Null), &mut leaves);
        for (key, text) in leaves {
            rows.entry(key).or_insert_with(|| vec![String::new(); runs.len()])[index] = text;
        }
    }
    rows.into_iter().collect()
}

fn flatten(prefix: &str, value: &Value, leaves: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::Object(object) => {
            for (key, value) in object {
                let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&key, value, leaves);
            }
        }
        Value::String(text) => leaves.push((prefix.to_owned(), text.clone())),
        Value::Number(number) if prefix.ends_with("_bytes") => {
            let name = prefix.trim_end_matches("_bytes");
            leaves.push((name.to_owned(), format!("{:.1} GB", number.as_f64().unwrap_or(0.0) / 1e9)));
        }
        other => leaves.push((prefix.to_owned(), other.to_string())),
    }
}

/// Seconds since 1970 as `2026-11-23 12:02 UTC`.
pub(super) fn utc(time: f64) -> String {
    let seconds = time.max(0.0) as u64;
    let (days, minutes) = (seconds / 86_400, seconds % 86_400 / 60);
    // Days from a 1st of March on, where leap days come last. Source: Hinnant, "chrono-compatible low-level date algorithms".
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_dates() {
        // Checked with `date -u -d @SECONDS`.
        let dates = [0.0, 951_782_399.0, 951_782_400.0, 1_795_435_320.0].map(utc);
        let expected = ["1970-01-01 00:00 UTC", "2000-02-28 23:59 UTC", "2000-02-29 00:00 UTC", "2026-11-23 12:02 UTC"];
        assert_eq!(dates, expected);
    }

    #[test]
    fn nested_settings_are_named_by_their_path() {
        let mut leaves = Vec::new();
        let value = serde_json::json!({"run": {"seed": 1, "device": "cpu", "x": null}, "memory_bytes": 2e9});
        flatten("", &value, &mut leaves);
        let expected = [("memory", "2.0 GB"), ("run.device", "cpu"), ("run.seed", "1")];
        assert_eq!(leaves, expected.map(|(key, text)| (key.to_owned(), text.to_owned())));
    }
}
