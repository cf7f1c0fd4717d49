//! Rows as text: what a model will read.

use std::io::{self, Write};
use std::path::Path;

use cloze_formats::config::InstanceConfig;
use cloze_formats::finetune::GlueTask;
use cloze_formats::masking::Masker;
use cloze_formats::rng::{KeyedRng, Purpose};
use cloze_formats::{CorpusRow, Dataset, GlueRow, Label, PretrainRow, Row, SquadRow};
use serde_json::{Value, json};

use crate::error::{AtPath, Error, Result};

/// Which rows to show, and how.
#[derive(Clone, Debug)]
pub struct ShowOptions {
    /// These rows; empty for the first `count`, or `count` random ones.
    pub rows: Vec<u64>,
    /// How many.
    pub count: u64,
    /// Draw the rows at random with this seed.
    pub random: Option<u64>,
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
/// Not a dataset, damage in a row's batch, or a row number out of range.
pub fn show(dir: &Path, options: &ShowOptions, out: &mut dyn Write) -> Result<()> {
    let dataset = Dataset::open(dir)?;
    let rows = choose(&dataset, options)?;
    let mut shower = Shower::new(&dataset, options)?;
    for (i, &index) in rows.iter().enumerate() {
        let row = dataset.row(index)?;
        let written = if options.json {
            serde_json::to_string(&shower.json(index, &row))
                .map_err(io::Error::other)
                .and_then(|l| writeln!(out, "{l}"))
        } else {
            shower.text(i, index, &row, out)
        };
        written.at("standard output")?;
    }
    Ok(())
}

fn label_value(label: Label) -> Value {
    match label {
        Label::Class(class) => json!(class),
        Label::Score(score) => json!(score),
    }
}

fn choose(dataset: &Dataset, options: &ShowOptions) -> Result<Vec<u64>> {
    let n = dataset.len();
    if let Some(row) = options.rows.iter().find(|&&row| row >= n) {
        return Err(Error::invalid(dataset.dir(), format!("expected rows below {n}, found {row}")));
    }
    let count = options.count.min(n);
    Ok(match options.random {
        _ if !options.rows.is_empty() => options.rows.clone(),
        None => (0..count).collect(),
        Some(seed) => {
            let order = cloze_formats::stream::Order::new(n, seed, 0);
            (0..count).map(|i| order.at(i)).collect()
        }
    })
}

struct Shower<'a> {
    dataset: &'a Dataset,
    colour: bool,
    masks: (u64, u64),
    /// For datasets that leave masking to the trainer.
    dynamic: Option<Masker>,
}

impl<'a> Shower<'a> {
    fn new(dataset: &'a Dataset, options: &ShowOptions) -> Result<Self> {
        let manifest = dataset.manifest();
        let is_dynamic = manifest.kind == cloze_formats::Kind::Pretrain && !manifest.columns.has_static_masks();
        let dynamic = if is_dynamic {
            let config: InstanceConfig = serde_json::from_value(manifest.configuration.clone())
                .map_err(|e| Error::invalid(dataset.dir(), format!("the configuration cannot be read: {e}")))?;
            Some(Masker::new(config.masking_config(), dataset.vocabulary()))
        } else {
            None
        };
        Ok(Self { dataset, colour: options.colour, masks: options.masks, dynamic })
    }

    fn text(&mut self, i: usize, index: u64, row: &Row<'_>, out: &mut dyn Write) -> io::Result<()> {
        if i > 0 {
            writeln!(out)?;
        }
        match row {
            Row::Corpus(r) => self.corpus(index, r, out),
            Row::Pretrain(r) => self.pretrain(index, r, out),
            Row::Squad(r) => self.squad(index, r, out),
            Row::Glue(r) => self.glue(index, r, out),
        }
    }

    fn corpus(&self, index: u64, row: &CorpusRow<'_>, out: &mut dyn Write) -> io::Result<()> {
        let (sentences, tokens) = (row.sentence_lengths.len(), row.token_ids.len());
        writeln!(out, "{}", self.bold(&format!("document {index}: {sentences} sentences, {tokens} tokens")))?;
        let ids = row.token_ids.to_vec();
        let mut rest = &ids[..];
        for &length in row.sentence_lengths {
            let (sentence, tail) = rest.split_at(usize::from(length).min(rest.len()));
            writeln!(out, "  {}", self.join(sentence.iter().map(|&id| self.piece(id))))?;
            rest = tail;
        }
        Ok(())
    }

    fn pretrain(&mut self, index: u64, row: &PretrainRow<'_>, out: &mut dyn Write) -> io::Result<()> {
        let masked = self.masks_of(index, row);
        let ids = row.input_ids.to_vec();
        let label = if row.next_sentence_label { "B is random" } else { "B follows A" };
        let head = format!("instance {index}: {label}, {} tokens, {} to predict", ids.len(), masked.len());
        writeln!(out, "{}", self.bold(&head))?;
        let mut next = masked.into_iter().peekable();
        let pieces: Vec<String> = ids
            .iter()
            .enumerate()
            .map(|(position, &id)| match next.next_if(|m| usize::from(m.0) == position) {
                Some((_, seen)) => self.masked_piece(id, seen),
                None => self.piece(id),
            })
            .collect();
        let (a, b) = self.segments(&pieces, row.segment_a_length);
        writeln!(out, "  A: {a}\n  B: {b}")
    }

    fn squad(&self, index: u64, row: &SquadRow<'_>, out: &mut dyn Write) -> io::Result<()> {
        let ids = row.input_ids.to_vec();
        let (start, end) = (usize::from(row.start_position), usize::from(row.end_position));
        let place = match end {
            _ if row.is_impossible => "no answer exists".to_owned(),
            0 => "answer not here".to_owned(),
            _ => format!("answer in tokens {start} to {end}"),
        };
        let head = format!("window {} of question {}, row {index}: {place}", row.window, row.example_id);
        writeln!(out, "{}", self.bold(&head))?;
        let answer = if end > 0 { start..end + 1 } else { 0..0 };
        let pieces: Vec<String> = ids
            .iter()
            .enumerate()
            .map(|(i, &id)| {
                let piece = self.piece(id);
                let open = if i == answer.start && !answer.is_empty() { "«" } else { "" };
                let close = if i + 1 == answer.end { "»" } else { "" };
                if answer.contains(&i) { self.paint("32", &format!("{open}{piece}{close}")) } else { piece }
            })
            .collect();
        let (question, context) = self.segments(&pieces, row.segment_a_length);
        writeln!(out, "  question: {question}\n  context:  {context}")
    }

    fn glue(&self, index: u64, row: &GlueRow<'_>, out: &mut dyn Write) -> io::Result<()> {
        let label = match row.label {
            None => "no label".to_owned(),
            Some(Label::Class(class)) => {
                format!("label {}", GlueTask::of(self.dataset.manifest()).name(class.into()))
            }
            Some(Label::Score(score)) => format!("score {score}"),
        };
        writeln!(out, "{}", self.bold(&format!("example {index}: {label}")))?;
        let pieces: Vec<String> = row.input_ids.iter().map(|id| self.piece(id)).collect();
        if usize::from(row.segment_a_length) == pieces.len() {
            return writeln!(out, "  {}", self.join(pieces[1..pieces.len() - 1].iter().cloned()));
        }
        let (a, b) = self.segments(&pieces, row.segment_a_length);
        writeln!(out, "  A: {a}\n  B: {b}")
    }

    /// The text of both segments, special tokens left out.
    fn segments(&self, pieces: &[String], segment_a_length: u16) -> (String, String) {
        let a = usize::from(segment_a_length);
        let join = |range: &[String]| self.join(range.iter().cloned());
        (join(&pieces[1..a - 1]), join(&pieces[a..pieces.len() - 1]))
    }

    fn masks_of(&mut self, index: u64, row: &PretrainRow<'_>) -> Vec<(u16, u32)> {
        match (row.masked, &mut self.dynamic) {
            (Some(m), _) => m.positions.iter().copied().zip(m.inputs.iter()).collect(),
            (None, Some(masker)) => {
                let (seed, epoch) = self.masks;
                let mut rng = KeyedRng::new(seed, Purpose::DynamicMask, index, epoch);
                masker.mask(row.input_ids, row.segment_a_length, &mut rng).to_vec()
            }
            (None, None) => Vec::new(),
        }
    }

    fn piece(&self, id: u32) -> String {
        self.dataset.vocabulary().token(id).unwrap_or("?").to_owned()
    }

    /// `[MASK:word]` as seen masked, `[other:word]` as seen replaced, `[word]` as seen unchanged.
    fn masked_piece(&self, id: u32, seen: u32) -> String {
        let token = self.piece(id);
        let (continues, word) = match token.strip_prefix("##") {
            Some(rest) => ("##", rest),
            None => ("", token.as_str()),
        };
        let shown = if seen == self.dataset.manifest().vocabulary.special.mask {
            format!("[MASK:{word}]")
        } else if seen == id {
            format!("[{word}]")
        } else {
            format!("[{}:{word}]", self.piece(seen))
        };
        format!("{continues}{}", self.paint("33", &shown))
    }

    /// Words from pieces: `##` glues a piece to the one before.
    fn join(&self, pieces: impl Iterator<Item = String>) -> String {
        let mut text = String::new();
        for piece in pieces {
            match piece.strip_prefix("##") {
                Some(rest) if !text.is_empty() => text.push_str(rest),
                _ => {
                    if !text.is_empty() {
                        text.push(' ');
                    }
                    text.push_str(&piece);
                }
            }
        }
        text
    }

    fn json(&mut self, index: u64, row: &Row<'_>) -> Value {
        let tokens: Vec<String> = row.tokens().iter().map(|id| self.piece(id)).collect();
        match row {
            Row::Corpus(r) => {
                json!({"row": index, "document_id": r.document_id, "tokens": tokens, "sentence_lengths": r.sentence_lengths})
            }
            Row::Pretrain(r) => {
                let masked: Vec<Value> = self
                    .masks_of(index, r)
                    .into_iter()
                    .map(|(position, seen)| json!({"position": position, "seen": self.piece(seen)}))
                    .collect();
                json!({"row": index, "tokens": tokens, "segment_a_length": r.segment_a_length,
                       "next_sentence_label": r.next_sentence_label, "masked": masked})
            }
            Row::Squad(r) => json!({"row": index, "example_id": r.example_id, "window": r.window, "tokens": tokens,
                                    "segment_a_length": r.segment_a_length, "start_position": r.start_position,
                                    "end_position": r.end_position, "is_impossible": r.is_impossible}),
            Row::Glue(r) => json!({"row": index, "row_id": r.row_id, "tokens": tokens,
                                   "segment_a_length": r.segment_a_length, "label": r.label.map(label_value)}),
        }
    }

    fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
