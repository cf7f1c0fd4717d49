//! Figures of a dataset as a page for the terminal.

use std::io::{self, Write};

use cloze_formats::dataset::short;
use cloze_formats::manifest::{Kind, Source};

use super::facts::Facts;
pub use super::numbers::{bytes, counted, decimal, percent, plural, thousands};
use super::survey::Survey;

const LABEL_WIDTH: usize = 16;
const BAR_WIDTH: usize = 48;
const MAX_BUCKETS: usize = 16;
const MAX_SOURCES: usize = 12;
const MAX_FREQUENT: usize = 8;

/// Writes the page.
pub fn render(facts: &Facts, out: &mut dyn Write) -> io::Result<()> {
    let Facts { dataset, kind, format_version, writer, .. } = facts;
    writeln!(out, "{dataset}: {kind} dataset, format {format_version}, written by {writer}")?;
    writeln!(out)?;
    for (label, value) in lines(facts) {
        writeln!(out, "  {label:LABEL_WIDTH$} {value}")?;
    }
    render_sources(&facts.sources, out)?;
    writeln!(out, "\n  configuration")?;
    if let Some(configuration) = facts.configuration.as_object() {
        for (knob, value) in configuration {
            writeln!(out, "    {knob:24} {}", setting(value))?;
        }
    }
    let what = if facts.kind == Kind::Corpus { "sentences" } else { "rows" };
    writeln!(out, "\n  {what} by number of tokens")?;
    render_histogram(&facts.length_histogram, facts.kind == Kind::Corpus, out)
}

/// Text without its quotes, lists of text without brackets.
fn setting(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(values) => values.iter().map(setting).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn lines(f: &Facts) -> Vec<(&'static str, String)> {
    let (least, most) = f.rows_per_shard;
    let row = f.row_name();
    let rows = plural(most, row);
    let balance = if least == most { thousands(most) } else { format!("{} to {}", thousands(least), thousands(most)) };
    let mut lines = vec![
        (f.rows_name(), thousands(f.rows)),
        ("shards", format!("{} of {balance} {rows}, {} in all", f.num_shards, bytes(f.bytes))),
    ];
    if let Some(sentences) = f.sentences {
        let mean = f.tokens as f64 / sentences.max(1) as f64;
        lines.push(("sentences", format!("{}, mean {mean:.1} tokens", thousands(sentences))));
    }
    let mean = decimal(f.tokens_per_row);
    let mut tokens = format!("{}, mean {mean} per {row}, [UNK] {}", thousands(f.tokens), percent(f.unknown_share));
    if let Some(padding) = f.padding_share {
        tokens += &format!(", {} would be padding in a full grid", percent(padding));
    }
    lines.push(("tokens", tokens));
    if let Some(random) = f.random_next_share {
        lines.push(("next sentence", format!("{} follow, {} random", percent(1.0 - random), percent(random))));
    }
    if f.kind == Kind::Pretrain {
        lines.push(("masking", masking(f)));
    }
    if let Some(answered) = f.answered_share {
        let mut answers = format!("in {} of the windows", percent(answered));
        if let Some(impossible) = f.impossible_share {
            answers += &format!(", {} are of questions without one", percent(impossible));
        }
        lines.push(("answers", answers));
    }
    if !f.labels.is_empty() {
        let of = |(label, count): &(String, u64)| format!("{label}: {}", thousands(*count));
        lines.push(("labels", f.labels.iter().map(of).collect::<Vec<_>>().join(", ")));
    }
    if let Some(s) = f.scores {
        lines.push(("scores", format!("{} to {}, mean {:.3}", s.min, s.max, s.mean)));
    }
    if let Some(rows) = f.held_out_rows {
        lines.push(("held out", format!("{} in held-out/", counted(rows, row))));
    }
    let v = &f.vocabulary;
    let case = if v.cased { "cased" } else { "uncased" };
    lines.push((
        "vocabulary",
        format!("{} tokens, {case}, sha256 {}", thousands(v.num_tokens.into()), short(&v.sha256)),
    ));
    let columns = f.columns.as_array().into_iter().flatten().filter_map(|c| c.as_str());
    if let Some(survey) = &f.survey {
        lines.extend(survey_lines(survey));
    }
    lines.push(("columns", columns.collect::<Vec<_>>().join(", ")));
    lines
}

fn survey_lines(s: &Survey) -> Vec<(&'static str, String)> {
    let share = |count: u64| percent(count as f64 / s.tokens.max(1) as f64);
    // Punctuation leads every list and tells nothing.
    let words = s.frequent.iter().filter(|t| t.token.chars().any(char::is_alphanumeric)).take(MAX_FREQUENT);
    let words: Vec<String> = words.map(|t| format!("{} {}", t.token, share(t.count))).collect();
    let mut lines = vec![
        ("frequent words", words.join(", ")),
        ("in use", format!("{} of the vocabulary", counted(s.different_tokens, "token"))),
    ];
    for histogram in s.histograms.iter().filter(|h| h.name == "masks_per_instance" && h.total() > 0) {
        let least = histogram.counts.iter().position(|&count| count > 0).unwrap_or(0);
        let most = histogram.counts.len() - 1;
        lines.push(("to predict", format!("{least} to {most} per instance, mean {:.1}", histogram.mean())));
    }
    if !s.is_complete() {
        let (read, all) = (thousands(s.rows_read), counted(s.num_rows, "row"));
        lines.push(("", format!("(the last {} lines: by {read} of {all}; --all-rows reads all)", lines.len())));
    }
    lines
}

fn masking(f: &Facts) -> String {
    match f.masking {
        None => "dynamic: drawn by the trainer in each epoch".to_owned(),
        Some(m) => format!(
            "static: {:.1} per instance, {} of all tokens; {} [MASK], {} random, {} kept",
            m.predictions_per_row,
            percent(m.share_of_tokens),
            percent(m.mask),
            percent(m.random),
            percent(m.kept)
        ),
    }
}

/// What a source of this format is counted in.
pub(super) fn source_unit(format: &str) -> &'static str {
    match format {
        "squad" => "question",
        "glue" => "example",
        _ => "document",
    }
}

fn render_sources(sources: &[Source], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\n  sources")?;
    for source in sources.iter().take(MAX_SOURCES) {
        let Source { name, format, documents, sha256, .. } = source;
        let size = Facts::source_bytes(source).map_or_else(String::new, |size| format!(", {}", bytes(size)));
        let documents = counted(*documents, source_unit(format));
        writeln!(out, "    {name}  {format}, {documents}{size}, sha256 {}", short(sha256))?;
    }
    if sources.len() > MAX_SOURCES {
        writeln!(out, "    and {} more", sources.len() - MAX_SOURCES)?;
    }
    Ok(())
}

/// A bar per bucket of lengths; bucket widths are round numbers.
fn render_histogram(histogram: &[u64], capped: bool, out: &mut dyn Write) -> io::Result<()> {
    let width = bucket_width(histogram.len());
    let buckets: Vec<u64> = histogram.chunks(width).map(|c| c.iter().sum()).collect();
    let most = buckets.iter().copied().max().unwrap_or(0).max(1);
    let first = buckets.iter().position(|&count| count > 0).unwrap_or(0);
    for (i, &count) in buckets.iter().enumerate().skip(first) {
        let (low, high) = (i * width, ((i + 1) * width - 1).min(histogram.len().saturating_sub(1)));
        let open = capped && high == histogram.len() - 1 && histogram.len() > 512;
        let range = if open { format!("{low}+") } else { format!("{low}-{high}") };
        writeln!(out, "    {range:>9} {:<BAR_WIDTH$} {}", bar(count, most), thousands(count))?;
    }
    Ok(())
}

fn bucket_width(lengths: usize) -> usize {
    let widths = (0..).flat_map(|power| [1, 2, 4, 5, 8].map(|unit| unit * 10usize.pow(power)));
    widths.into_iter().find(|width| lengths.div_ceil(*width) <= MAX_BUCKETS).unwrap_or(lengths)
}

/// `count / most` of the full width, in eighths of a character.
fn bar(count: u64, most: u64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (u128::from(count) * (BAR_WIDTH as u128 * 8) / u128::from(most)) as usize;
    let eighths = if count > 0 { eighths.max(1) } else { 0 };
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histogram_has_a_line_per_bucket_and_full_width_for_the_largest() {
        let mut histogram = vec![0; 129];
        histogram[128] = 40;
        histogram[20] = 10;
        let mut out = Vec::new();
        render_histogram(&histogram, false, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 11, "{text}");
        assert_eq!(lines[0], format!("    {:>9} {:<BAR_WIDTH$} 10", "20-29", "█".repeat(12)));
        assert!(lines[10].contains("120-128") && lines[10].contains(&"█".repeat(BAR_WIDTH)));
    }
}
