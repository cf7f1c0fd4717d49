//! Figures of a dataset as one HTML file that needs nothing else: styles and plots are inside it.

mod charts;
mod svg;
mod tables;

use std::path::Path;

use cloze_formats::manifest::Kind;
use cloze_formats::{Dataset, Row};

use super::facts::Facts;
use super::numbers::{bytes, counted, decimal, percent, plural, thousands};
use super::reading::{Reader, Reading, Span, Style};
use super::show::examples;
use super::survey::{Histogram, Survey};
use crate::Result;

/// Rows shown as text.
const NUM_ROWS: u64 = 4;
/// Sentences shown of a document.
const MAX_LINES: usize = 12;

/// Rows of `dataset` to show in the report, drawn at random with a fixed seed.
///
/// # Errors
/// The rows cannot be read.
pub fn readings(dataset: &Dataset) -> Result<Vec<Reading>> {
    let order = cloze_formats::stream::Order::new(dataset.len().max(1), 0, 0);
    let rows: Vec<u64> = (0..NUM_ROWS.min(dataset.len())).map(|i| order.at(i)).collect();
    let mut reader = Reader::new(dataset, (0, 0))?.with_examples(examples(dataset, &rows)?);
    let read = |&index: &u64| -> Result<Reading> {
        let row: Row<'_> = dataset.row(index)?;
        let mut reading = reader.read(index, &row);
        let more = reading.lines.len().saturating_sub(MAX_LINES);
        if more > 0 {
            reading.lines.truncate(MAX_LINES);
            let text = format!("… {} more", counted(more as u64, "sentence"));
            reading.lines.push(("", vec![Span { style: Style::Plain, text }]));
        }
        Ok(reading)
    };
    rows.iter().map(read).collect()
}

/// The report.
pub fn page(facts: &Facts, rows: &[Reading]) -> String {
    let name =
        Path::new(&facts.dataset).file_name().map_or(facts.dataset.clone().into(), |name| name.to_string_lossy());
    let title = escape(&name);
    let head = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}: {} dataset</title>\n\
         <style>\n{}</style>\n</head>\n",
        facts.kind,
        include_str!("style.css")
    );
    let header = format!(
        "<header><h1>{title}</h1>\n<p>{} dataset, format {}, written by {}</p></header>\n",
        facts.kind,
        facts.format_version,
        escape(&facts.writer)
    );
    let mut cards = plots(facts);
    cards.push(sources(facts));
    if let Some(survey) = &facts.survey {
        cards.push(tokens(survey));
    }
    cards.push(configuration(facts));
    cards.push(about(facts));
    cards.extend(rows_card(facts, rows));
    format!(
        "{head}<body>\n<main>\n{header}{}<div class=\"cards\">\n{}</div>\n{}</main>\n</body>\n</html>\n",
        figures(facts),
        cards.concat(),
        footer(facts)
    )
}

/// Text for HTML, in attributes too.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Not allowed in HTML, even escaped.
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

fn card(title: &str, note: &str, class: &str, body: &str) -> String {
    let note = if note.is_empty() { String::new() } else { format!("<p class=\"note\">{}</p>\n", escape(note)) };
    format!("<section{class}>\n<h2>{}</h2>\n{note}{body}</section>\n", escape(title))
}

fn wide(title: &str, note: &str, body: &str) -> String {
    card(title, note, " class=\"wide\"", body)
}

/// The figures that are wanted first.
fn figures(f: &Facts) -> String {
    let mut figures = vec![
        (thousands(f.rows), plural(f.rows, f.row_name())),
        (thousands(f.tokens), plural(f.tokens, "token")),
        (decimal(f.tokens_per_row), format!("tokens per {}", f.row_name())),
    ];
    if let Some(sentences) = f.sentences {
        figures[2] = (thousands(sentences), plural(sentences, "sentence"));
        figures.push((format!("{:.1}", f.tokens as f64 / sentences.max(1) as f64), "tokens per sentence".to_owned()));
    }
    if let Some(padding) = f.padding_share {
        figures.push((percent(padding), "padding in a full grid".to_owned()));
    }
    if let Some(rows) = f.held_out_rows {
        figures.push((thousands(rows), format!("{} held out", plural(rows, f.row_name()))));
    }
    figures.push((percent(f.unknown_share), "of the tokens are [UNK]".to_owned()));
    figures.push((bytes(f.bytes), format!("in {}", counted(f.num_shards as u64, "shard"))));
    let figure = |(value, what): &(String, String)| {
        format!("<div class=\"figure\"><b>{}</b><span>{}</span></div>\n", escape(value), escape(what))
    };
    format!("<div class=\"figures\">\n{}</div>\n", figures.iter().map(figure).collect::<String>())
}

fn plots(f: &Facts) -> Vec<String> {
    let all = format!("all {}", counted(f.rows, f.row_name()));
    let is_corpus = f.kind == Kind::Corpus;
    let what = if is_corpus { "sentences".to_owned() } else { f.rows_name().to_owned() };
    let note = if is_corpus { format!("all {}", counted(f.sentences.unwrap_or(0), "sentence")) } else { all.clone() };
    let lengths = charts::histogram("lengths", "tokens", &what, &f.length_histogram, is_corpus);
    let mut cards = vec![card(if is_corpus { "Sentence lengths" } else { "Lengths" }, &note, "", &lengths)];
    cards.extend(f.survey.iter().flat_map(|survey| survey.histograms.iter().filter_map(|h| histogram(f, survey, h))));
    if f.num_shards > 1 {
        let (least, most) = f.rows_per_shard;
        let note = match most - least {
            0 => format!("{} in each", counted(most, f.row_name())),
            _ => format!("{} to {}", thousands(least), counted(most, f.row_name())),
        };
        cards.push(card("Shards", &note, "", &charts::shards(&f.shards, f.row_name())));
    }
    let parts = shares(f, &all);
    // An odd one takes the whole width, so that no half stays empty; only shares look well so.
    let odd = (cards.len() + parts.len()) % 2 == 1;
    let last = parts.len();
    let class = |i: usize| if odd && i + 1 == last { " class=\"wide\"" } else { "" };
    cards.extend(parts.iter().enumerate().map(|(i, (title, note, body))| card(title, note, class(i), body)));
    cards
}

/// Shares of a whole, by what the kind has: title, note and plot.
fn shares(f: &Facts, all: &str) -> Vec<(&'static str, String, String)> {
    let mut cards = Vec::new();
    if let Some(random) = f.random_next_share {
        let random = (random * f.rows as f64).round() as u64;
        let parts = charts::parts(&[("B follows A", f.rows - random, None), ("B is random", random, None)]);
        cards.push(("Next sentence", all.to_owned(), parts));
    }
    if let Some(m) = f.masking {
        let of = |share: f64| (share * m.predictions_per_row * f.rows as f64).round() as u64;
        let parts = charts::parts(&[
            ("[MASK]", of(m.mask), Some(0.8)),
            ("random token", of(m.random), Some(0.1)),
            ("the token itself", of(m.kept), Some(0.1)),
        ]);
        let note = format!("{all}, {} of all tokens", percent(m.share_of_tokens));
        cards.push(("What the model sees at positions to predict", note, parts));
    }
    if let Some(share) = f.answered_share {
        let answered = (share * f.rows as f64).round() as u64;
        let parts = [("answer in the window", answered, None), ("no answer in it", f.rows - answered, None)];
        cards.push(("Answers", all.to_owned(), charts::parts(&parts)));
    }
    if !f.labels.is_empty() {
        let parts: Vec<_> = f.labels.iter().map(|(name, count)| (name.as_str(), *count, None)).collect();
        cards.push(("Labels", all.to_owned(), charts::parts(&parts)));
    }
    cards
}

/// A plot of what the survey measured; nothing where there was nothing to measure.
fn histogram(f: &Facts, survey: &Survey, h: &Histogram) -> Option<String> {
    // Of single sentences, the lengths of segment A are those of the rows.
    let single =
        f.kind == Kind::Glue && survey.histograms.iter().all(|h| h.name != "segment_b_length" || h.total() == 0);
    if h.total() == 0 || single {
        return None;
    }
    let title = match h.name {
        "masks_per_instance" => "Positions to predict per instance",
        "masks_by_position" => "Where positions to predict lie",
        "segment_a_length" => "Segment A",
        "segment_b_length" => "Segment B",
        "tokens_per_document" => "Documents by tokens",
        "sentences_per_document" => "Documents by sentences",
        "question_length" => "Questions",
        "answer_length" => "Answers by tokens",
        "answer_start" => "Where answers begin",
        "window_number" => "Windows of a question",
        other => other,
    };
    let drawn = match (f.kind, f.masking) {
        (Kind::Pretrain, None) if h.name.starts_with("masks_") => ", drawn as with seed 0 in epoch 0",
        _ => "",
    };
    let mean = if h.name == "masks_by_position" { String::new() } else { format!(", mean {}", decimal(h.mean())) };
    let of = if h.total() == survey.rows_read {
        String::new()
    } else {
        format!("{} {} in ", thousands(h.total()), h.counted)
    };
    let note = format!("{of}{}{mean}{drawn}", read(f, survey));
    Some(card(title, &note, "", &charts::histogram(title, h.unit, h.counted, &h.counts, false)))
}

/// Which rows the survey is of.
fn read(f: &Facts, survey: &Survey) -> String {
    let rows = counted(survey.num_rows, f.row_name());
    if survey.is_complete() { format!("all {rows}") } else { format!("{} of {rows}", thousands(survey.rows_read)) }
}

fn sources(f: &Facts) -> String {
    wide("Sources", &counted(f.sources.len() as u64, "source"), &tables::sources(f))
}

fn tokens(survey: &Survey) -> String {
    let share = percent(survey.unknown_tokens as f64 / survey.tokens.max(1) as f64);
    let note = format!(
        "{} different ones among {}, special tokens left out below; [UNK] {}, {share}",
        thousands(survey.different_tokens),
        counted(survey.tokens, "token"),
        thousands(survey.unknown_tokens)
    );
    wide("Most frequent tokens", &note, &tables::tokens(survey))
}

fn configuration(f: &Facts) -> String {
    card("Configuration", "everything that decided the bytes", "", &tables::values(&f.configuration))
}

fn about(f: &Facts) -> String {
    let v = &f.vocabulary;
    let columns = f.columns.as_array().into_iter().flatten().filter_map(|c| c.as_str()).collect::<Vec<_>>();
    let special = v.special;
    let mut rows = vec![
        ("tokens", thousands(v.num_tokens.into())),
        ("case", if v.cased { "kept" } else { "lowered, accents stripped" }.to_owned()),
        (
            "special ids",
            format!(
                "[PAD] {}, [UNK] {}, [CLS] {}, [SEP] {}, [MASK] {}",
                special.pad, special.unk, special.cls, special.sep, special.mask
            ),
        ),
        ("sha256", v.sha256.clone()),
        ("columns", columns.join(", ")),
    ];
    if let Some(survey) = &f.survey {
        let share = survey.different_tokens as f64 / f64::from(v.num_tokens.max(1));
        rows.insert(1, ("in use", format!("{} in {}", percent(share), read(f, survey))));
    }
    card("Vocabulary and columns", "", "", &tables::pairs(&rows))
}

fn rows_card(f: &Facts, rows: &[Reading]) -> Option<String> {
    if rows.is_empty() {
        return None;
    }
    let (note, legend) = match (f.kind, f.masking) {
        (Kind::Pretrain, masking) => {
            let drawn = if masking.is_none() { "; masks drawn as with seed 0 in epoch 0" } else { "" };
            let legend = "<p class=\"note\"><span class=\"hint\"><mark>[MASK:word]</mark> hidden</span>\
                          <span class=\"hint\"><mark class=\"replaced\">[other:word]</mark> replaced</span>\
                          <span class=\"hint\"><mark class=\"kept\">[word]</mark> left as it is</span></p>\n";
            (format!("drawn at random{drawn}"), legend)
        }
        _ => ("drawn at random".to_owned(), ""),
    };
    let body: String = rows.iter().map(reading).collect();
    Some(wide(&format!("Some {}", f.rows_name()), &note, &format!("{legend}{body}")))
}

fn reading(reading: &Reading) -> String {
    let line = |(label, spans): &(&str, Vec<Span>)| {
        let label = if label.is_empty() { String::new() } else { format!("<span class=\"label\">{label}</span>") };
        format!("<p>{label}{}</p>\n", spans.iter().map(span).collect::<String>())
    };
    let lines: String = reading.lines.iter().map(line).collect();
    format!("<div class=\"row\"><h3>{}</h3>\n{lines}</div>\n", escape(&reading.heading))
}

fn span(span: &Span) -> String {
    let class = match span.style {
        Style::Plain => return escape(&span.text),
        Style::Masked => "",
        Style::Replaced => " class=\"replaced\"",
        Style::Kept => " class=\"kept\"",
        Style::Answer => " class=\"answer\"",
        Style::Found => " class=\"found\"",
        Style::Unknown => " class=\"unknown\"",
    };
    // The space after a word is not part of it.
    let word = span.text.trim_end();
    format!("<mark{class}>{}</mark>{}", escape(word), &span.text[word.len()..])
}

/// What was read for which figures.
fn footer(f: &Facts) -> String {
    let text = match &f.survey {
        Some(survey) if survey.is_complete() => "All figures are of all rows.".to_owned(),
        Some(survey) => format!(
            "Lengths, shares and shards are of all rows, by the manifest. Tokens, segments and positions are of {} of {} record \
             batches, evenly spread; --all-rows reads all.",
            thousands(survey.batches_read as u64),
            thousands(survey.num_batches as u64)
        ),
        None => "All figures are from the manifest; the rows could not be read.".to_owned(),
    };
    format!("<footer>{}</footer>\n", escape(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_corpora_cannot_become_markup() {
        assert_eq!(escape("<b>\"&'\u{0}"), "&lt;b&gt;&quot;&amp;&#39;\u{fffd}");
        let heading = "<script>alert(1)</script>".to_owned();
        let text = "</p><img src=x> ".to_owned();
        let html = reading(&Reading { heading, lines: vec![("", vec![Span { style: Style::Answer, text }])] });
        assert!(!html.contains("<script>") && !html.contains("<img"), "{html}");
        assert!(html.contains("<mark class=\"answer\">&lt;/p&gt;&lt;img src=x&gt;</mark> "), "{html}");
    }
}
