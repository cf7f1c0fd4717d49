//! Rows for the terminal, or as JSON.

use std::collections::HashSet;
use std::io::{self, Write};
use std::ops::{Range, RangeInclusive};
use std::path::Path;

use cloze_formats::{Dataset, Kind, Label, Row};
use serde_json::{Value, json};

use super::examples::Examples;
use super::find::Query;
use super::numbers::{counted, thousands};
use super::reading::{Reader, Reading, Span, Style, token};
use crate::error::{AtPath, Error, Result};
use crate::progress::Progress;

/// Which rows to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The first `count`.
    First,
    /// These ones, by number.
    Rows(Vec<RangeInclusive<u64>>),
    /// `count` drawn with this seed.
    Random(u64),
    /// The document of a corpus with this `document_id`; each of them where corpora were put together by `import`.
    Document(u64),
    /// The first `count` that have these words.
    Find(String),
}

/// Which rows to show, and how.
#[derive(Clone, Debug)]
pub struct ShowOptions {
    /// Which rows.
    pub selection: Selection,
    /// How many, where the selection leaves it open.
    pub count: u64,
    /// Seed and epoch for dynamic masks: what a trainer with this seed sees in this epoch.
    pub masks: (u64, u64),
    /// ANSI colours.
    pub colour: bool,
    /// One JSON object per row instead of text.
    pub json: bool,
}

/// Writes the chosen rows of the dataset in `dir`.
///
/// # Errors
/// Not a dataset, damage in a row's batch, a row number or document that is not there, or words that cannot be looked for.
pub fn show(dir: &Path, options: &ShowOptions, progress: Progress, out: &mut dyn Write) -> Result<()> {
    let dataset = Dataset::open(dir)?;
    let mut reader = Reader::new(&dataset, options.masks)?;
    let rows = match &options.selection {
        Selection::Find(words) => {
            let query = Query::new(&dataset, words)?;
            let found = query.search(&dataset, options.count as usize, progress)?;
            if !options.json {
                let (rows, pieces) = (found.rows.len() as u64, query.pieces(dataset.vocabulary()));
                let all = if found.searched == dataset.len() { "all" } else { "the first" };
                let searched = counted(found.searched, "row");
                writeln!(out, "{words:?} ({pieces}): {} among {all} {searched}\n", counted(rows, "row"))
                    .at("standard output")?;
            }
            reader = reader.finding(query.ids);
            found.rows
        }
        selection => choose(&dataset, selection, options.count)?,
    };
    reader = reader.with_examples(examples(&dataset, &rows)?);
    for (i, &index) in rows.iter().enumerate() {
        let row = dataset.row(index)?;
        let written = if options.json {
            let line = serde_json::to_string(&json(&mut reader, index, &row)).map_err(io::Error::other);
            line.and_then(|line| writeln!(out, "{line}"))
        } else {
            let space = if i > 0 { writeln!(out) } else { Ok(()) };
            space.and_then(|()| write_reading(&reader.read(index, &row), options.colour, out))
        };
        written.at("standard output")?;
    }
    Ok(())
}

fn choose(dataset: &Dataset, selection: &Selection, count: u64) -> Result<Vec<u64>> {
    let n = dataset.len();
    let count = count.min(n);
    Ok(match selection {
        Selection::Rows(ranges) => {
            if let Some(range) = ranges.iter().find(|range| *range.end() >= n) {
                let problem = format!("expected rows below {n}, found {}", range.end());
                return Err(Error::invalid(dataset.dir(), problem));
            }
            ranges.iter().cloned().flatten().collect()
        }
        Selection::Random(seed) => {
            let order = cloze_formats::stream::Order::new(n, *seed, 0);
            (0..count).map(|i| order.at(i)).collect()
        }
        Selection::Document(id) => find_document(dataset, *id)?,
        Selection::First | Selection::Find(_) => (0..count).collect(),
    })
}

/// The rows of the documents with this id: one, or one for each shard where shards of several corpora were put together.
fn find_document(dataset: &Dataset, id: u64) -> Result<Vec<u64>> {
    let kind = dataset.manifest().kind;
    if kind != Kind::Corpus {
        let problem = format!("--document: expected a corpus, found a {kind} dataset; choose by --rows or --find");
        return Err(Error::invalid(dataset.dir(), problem));
    }
    let (mut found, mut last, mut first_row) = (Vec::new(), None, 0);
    for shard in dataset.manifest().shards.iter().filter(|shard| shard.rows > 0) {
        let rows = first_row..first_row + shard.rows;
        first_row = rows.end;
        let ids = dataset.corpus_row(rows.start)?.document_id..=dataset.corpus_row(rows.end - 1)?.document_id;
        last = last.max(Some(*ids.end()));
        if ids.contains(&id) {
            found.extend(find_in(dataset, rows, id)?);
        }
    }
    if found.is_empty() {
        let last = last.map_or(String::new(), |last| format!(" up to {last}"));
        let problem = format!("--document: expected an id{last}, found {id}; it is not in the corpus");
        return Err(Error::invalid(dataset.dir(), problem));
    }
    Ok(found)
}

/// The row of the document with this id among those of a shard, in which ids ascend.
fn find_in(dataset: &Dataset, mut rows: Range<u64>, id: u64) -> Result<Option<u64>> {
    while !rows.is_empty() {
        let middle = rows.start + (rows.end - rows.start) / 2;
        match dataset.corpus_row(middle)?.document_id {
            found if found == id => return Ok(Some(middle)),
            found if found < id => rows.start = middle + 1,
            _ => rows.end = middle,
        }
    }
    Ok(None)
}

/// Contexts and answers of the questions of these rows.
pub(super) fn examples(dataset: &Dataset, rows: &[u64]) -> Result<Examples> {
    let mut ids = HashSet::new();
    for &row in rows {
        if let Row::Squad(row) = dataset.row(row)? {
            ids.insert(row.example_id.to_owned());
        }
    }
    Examples::read(dataset, &ids)
}

/// Writes a row, with ANSI colours if `colour`.
pub(super) fn write_reading(reading: &Reading, colour: bool, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", paint(colour, "1", &reading.heading))?;
    let width = reading.lines.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    for (label, spans) in &reading.lines {
        match width {
            0 => write!(out, "  ")?,
            _ => write!(out, "  {} ", paint(colour, "2", &format!("{:<1$}", format!("{label}:"), width + 1)))?,
        }
        let text: String = spans.iter().map(|span| painted(span, colour)).collect();
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

fn painted(span: &Span, colour: bool) -> String {
    let code = match span.style {
        Style::Plain => return span.text.clone(),
        Style::Masked => "33",
        Style::Replaced => "31",
        Style::Kept => "36",
        Style::Answer => "1;32",
        Style::Found => "1;7",
        Style::Unknown => "35",
    };
    // The space after a word is not part of it.
    let word = span.text.trim_end();
    let mark = match span.style {
        Style::Answer if !colour => format!("«{word}»"),
        _ => paint(colour, code, word),
    };
    format!("{mark}{}", &span.text[word.len()..])
}

pub(super) fn paint(colour: bool, code: &str, text: &str) -> String {
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// A row with its tokens spelled out.
pub(super) fn json(reader: &mut Reader<'_>, index: u64, row: &Row<'_>) -> Value {
    let vocabulary = reader.dataset().vocabulary();
    let piece = |id| token(vocabulary, id);
    let tokens: Vec<String> = row.tokens().iter().map(piece).collect();
    match row {
        Row::Corpus(r) => {
            json!({"row": index, "document_id": r.document_id, "tokens": tokens, "sentence_lengths": r.sentence_lengths})
        }
        Row::Pretrain(r) => {
            let masked: Vec<Value> = reader
                .masks_of(index, r)
                .into_iter()
                .map(|(position, seen)| json!({"position": position, "seen": piece(seen)}))
                .collect();
            json!({"row": index, "tokens": tokens, "segment_a_length": r.segment_a_length,
                   "next_sentence_label": r.next_sentence_label, "masked": masked})
        }
        Row::Squad(r) => {
            let answer = reader.examples().answer(r);
            json!({"row": index, "example_id": r.example_id, "window": r.window, "tokens": tokens,
                   "segment_a_length": r.segment_a_length, "start_position": r.start_position,
                   "end_position": r.end_position, "is_impossible": r.is_impossible, "answer": answer})
        }
        Row::Glue(r) => {
            let (label, name) = match r.label {
                None => (Value::Null, None),
                Some(Label::Class(class)) => (json!(class), Some(reader.class_name(class))),
                Some(Label::Score(score)) => (json!(score), None),
            };
            json!({"row": index, "row_id": r.row_id, "tokens": tokens, "segment_a_length": r.segment_a_length,
                   "label": label, "label_name": name})
        }
    }
}

/// Rows of `--rows`: `7`, or `7-12` for all of them.
///
/// # Errors
/// What was expected and found.
pub fn parse_rows(text: &str) -> Result<RangeInclusive<u64>, String> {
    let number =
        |digits: &str| digits.trim().parse::<u64>().map_err(|_| format!("expected a row number, found {digits:?}"));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(format!("expected rows in ascending order, found {} to {}", thousands(first), thousands(last)));
    }
    Ok(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_numbers_and_ranges() {
        assert_eq!(parse_rows("7"), Ok(7..=7));
        assert_eq!(parse_rows("7-12"), Ok(7..=12));
        assert_eq!(parse_rows("12-7").unwrap_err(), "expected rows in ascending order, found 12 to 7");
        assert_eq!(parse_rows("x").unwrap_err(), "expected a row number, found \"x\"");
    }

    #[test]
    fn colour_ends_with_the_word_and_its_absence_marks_the_answer() {
        let span = Span { style: Style::Answer, text: "two ships ".to_owned() };
        assert_eq!(painted(&span, true), "\x1b[1;32mtwo ships\x1b[0m ");
        assert_eq!(painted(&span, false), "«two ships» ");
    }
}
