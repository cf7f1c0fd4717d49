//! Rows as text: what a model will read. One description for the terminal, for HTML and for comparisons.

use cloze_formats::config::InstanceConfig;
use cloze_formats::finetune::GlueTask;
use cloze_formats::masking::Masker;
use cloze_formats::rng::{KeyedRng, Purpose};
use cloze_formats::{CorpusRow, Dataset, GlueRow, Kind, Label, PretrainRow, Row, SquadRow, Vocabulary};

use super::examples::Examples;
use super::numbers::counted;
use crate::error::{Error, Result};
use crate::wordpiece::CONTINUATION;

/// What a stretch of text is, for whoever gives it a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Text as it is.
    Plain,
    /// A position to predict that shows `[MASK]`, with the token it hides.
    Masked,
    /// A position to predict that shows another token.
    Replaced,
    /// A position to predict that shows the token itself.
    Kept,
    /// The answer to a question.
    Answer,
    /// What was looked for.
    Found,
    /// `[UNK]`.
    Unknown,
}

/// A stretch of text of one style.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// What it is.
    pub style: Style,
    /// Words, with the spaces before them.
    pub text: String,
}

/// A row, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Which row, and what is to be known of it.
    pub heading: String,
    /// Labelled lines: `A`, `B`, `question`; an empty label for the sentences of a document.
    pub lines: Vec<(&'static str, Vec<Span>)>,
}

/// A token of a row with its style.
struct Piece {
    id: u32,
    style: Style,
    /// What the model sees instead, at positions to predict.
    seen: Option<u32>,
}

/// Makes text of the rows of one dataset.
pub struct Reader<'a> {
    dataset: &'a Dataset,
    masks: (u64, u64),
    /// For datasets that leave masking to the trainer.
    dynamic: Option<Masker>,
    examples: Examples,
    task: GlueTask,
    /// Token ids of the word to point out; empty for none.
    found: Vec<u32>,
}

impl<'a> Reader<'a> {
    /// `masks` are seed and epoch for dynamic masks: what a trainer with this seed sees in this epoch.
    ///
    /// # Errors
    /// The configuration cannot be read.
    pub fn new(dataset: &'a Dataset, masks: (u64, u64)) -> Result<Self> {
        Ok(Self {
            dataset,
            masks,
            dynamic: dynamic_masker(dataset)?,
            examples: Examples::default(),
            task: GlueTask::of(dataset.manifest()),
            found: Vec::new(),
        })
    }

    /// Contexts and answers to show with the windows of a squad dataset.
    pub fn with_examples(mut self, examples: Examples) -> Self {
        self.examples = examples;
        self
    }

    /// Points out every place where these tokens stand as a whole word.
    pub fn finding(mut self, ids: Vec<u32>) -> Self {
        self.found = ids;
        self
    }

    /// The dataset.
    pub fn dataset(&self) -> &'a Dataset {
        self.dataset
    }

    /// Contexts and answers, as given.
    pub fn examples(&self) -> &Examples {
        &self.examples
    }

    /// Row `index` as text.
    pub fn read(&mut self, index: u64, row: &Row<'_>) -> Reading {
        match row {
            Row::Corpus(r) => self.corpus(index, r),
            Row::Pretrain(r) => self.pretrain(index, r),
            Row::Squad(r) => self.squad(index, r),
            Row::Glue(r) => self.glue(index, r),
        }
    }

    /// (position, what the model sees there) of every position to predict, ascending.
    pub fn masks_of(&mut self, index: u64, row: &PretrainRow<'_>) -> Vec<(u16, u32)> {
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

    /// The name of a class of a glue dataset, or its number where it has none.
    pub fn class_name(&self, class: i32) -> String {
        self.task.name(class.into())
    }

    /// A label of a glue row in words.
    pub fn label(&self, label: Option<Label>) -> String {
        match label {
            None => "no label".to_owned(),
            Some(Label::Class(class)) => match self.class_name(class) {
                name if name != class.to_string() => format!("label {class} ({name})"),
                name => format!("label {name}"),
            },
            Some(Label::Score(score)) => format!("score {score}"),
        }
    }

    fn corpus(&self, index: u64, row: &CorpusRow<'_>) -> Reading {
        let (sentences, tokens) = (row.sentence_lengths.len() as u64, row.token_ids.len() as u64);
        let id = row.document_id;
        let number = if id == index { index.to_string() } else { format!("{index} (document_id {id})") };
        let heading = format!("document {number}: {}, {}", counted(sentences, "sentence"), counted(tokens, "token"));
        let pieces = self.plain(row.token_ids.iter());
        let mut rest = &pieces[..];
        let mut lines = Vec::new();
        for &length in row.sentence_lengths {
            let (sentence, tail) = rest.split_at(usize::from(length).min(rest.len()));
            lines.push(("", self.spans(sentence)));
            rest = tail;
        }
        Reading { heading, lines }
    }

    fn pretrain(&mut self, index: u64, row: &PretrainRow<'_>) -> Reading {
        let masked = self.masks_of(index, row);
        let label = if row.next_sentence_label { "B is random" } else { "B follows A" };
        let length = counted(row.input_ids.len() as u64, "token");
        let heading = format!("instance {index}: {label}, {length}, {} to predict", masked.len());
        let mut pieces = self.plain(row.input_ids.iter());
        let mask_id = self.dataset.manifest().vocabulary.special.mask;
        for (position, seen) in masked {
            if let Some(piece) = pieces.get_mut(usize::from(position)) {
                piece.seen = Some(seen);
                piece.style = match seen {
                    _ if seen == mask_id => Style::Masked,
                    _ if seen == piece.id => Style::Kept,
                    _ => Style::Replaced,
                };
            }
        }
        Reading { heading, lines: self.segments(&pieces, row.segment_a_length, ["A", "B"]) }
    }

    fn squad(&self, index: u64, row: &SquadRow<'_>) -> Reading {
        let (start, end) = (usize::from(row.start_position), usize::from(row.end_position));
        let place = match end {
            _ if row.is_impossible => "no answer in the context".to_owned(),
            0 => "answer not in this window".to_owned(),
            _ => format!("answer in tokens {start} to {end}"),
        };
        let heading = format!("window {} of question {}, row {index}: {place}", row.window, row.example_id);
        let mut pieces = self.plain(row.input_ids.iter());
        if end > 0 && start <= end && end < pieces.len() {
            pieces[start..=end].iter_mut().for_each(|piece| piece.style = Style::Answer);
        }
        let mut lines = self.segments(&pieces, row.segment_a_length, ["question", "context"]);
        if let Some(text) = self.examples.answer(row) {
            lines.push(("answer", vec![Span { style: Style::Answer, text }]));
        }
        let gold = self.examples.gold(row.example_id);
        if !gold.is_empty() {
            lines.push(("gold", vec![Span { style: Style::Plain, text: gold.join(" | ") }]));
        }
        Reading { heading, lines }
    }

    fn glue(&self, index: u64, row: &GlueRow<'_>) -> Reading {
        let label = self.label(row.label);
        let heading = format!("example {index}: {label}, {}", counted(row.input_ids.len() as u64, "token"));
        let pieces = self.plain(row.input_ids.iter());
        if usize::from(row.segment_a_length) >= pieces.len() {
            return Reading { heading, lines: vec![("", self.spans(inner(&pieces, 1, pieces.len() - 1)))] };
        }
        Reading { heading, lines: self.segments(&pieces, row.segment_a_length, ["A", "B"]) }
    }

    /// The text of both segments, special tokens left out.
    fn segments(
        &self,
        pieces: &[Piece],
        segment_a_length: u16,
        labels: [&'static str; 2],
    ) -> Vec<(&'static str, Vec<Span>)> {
        let a = usize::from(segment_a_length);
        let texts = [inner(pieces, 1, a.saturating_sub(1)), inner(pieces, a, pieces.len().saturating_sub(1))];
        labels.into_iter().zip(texts.map(|text| self.spans(text))).collect()
    }

    fn plain(&self, ids: impl Iterator<Item = u32>) -> Vec<Piece> {
        let ids: Vec<u32> = ids.collect();
        let unknown = self.dataset.vocabulary().special().unk;
        let style = |id| if id == unknown { Style::Unknown } else { Style::Plain };
        let mut pieces: Vec<Piece> = ids.iter().map(|&id| Piece { id, style: style(id), seen: None }).collect();
        for at in super::find::occurrences(&ids, &self.found, self.dataset.vocabulary()) {
            pieces[at..at + self.found.len()].iter_mut().for_each(|piece| piece.style = Style::Found);
        }
        pieces
    }

    /// Words from pieces: `##` glues a piece to the one before; neighbours of one style become one span.
    fn spans(&self, pieces: &[Piece]) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        for (i, piece) in pieces.iter().enumerate() {
            let token = token(self.dataset.vocabulary(), piece.id);
            let (continues, word) = match token.strip_prefix(CONTINUATION).filter(|rest| !rest.is_empty()) {
                Some(rest) if i > 0 => (true, rest),
                _ => (false, token.as_str()),
            };
            let shown = self.shown(piece, word);
            let space = if i > 0 && !continues { " " } else { "" };
            match spans.last_mut() {
                // Masks stay apart from each other: each of them is one position.
                Some(last) if last.style == piece.style && piece.seen.is_none() => {
                    last.text += space;
                    last.text += &shown;
                }
                Some(last) => {
                    // Spaces belong to what was before, so that only words are coloured.
                    last.text += space;
                    spans.push(Span { style: piece.style, text: shown });
                }
                None => spans.push(Span { style: piece.style, text: shown }),
            }
        }
        spans
    }

    /// `[MASK:word]` as seen masked, `[other:word]` as seen replaced, `[word]` as seen unchanged.
    fn shown(&self, piece: &Piece, word: &str) -> String {
        match (piece.style, piece.seen) {
            (Style::Masked, _) => format!("[MASK:{word}]"),
            (Style::Replaced, Some(seen)) => format!("[{}:{word}]", token(self.dataset.vocabulary(), seen)),
            (Style::Kept, _) => format!("[{word}]"),
            _ => word.to_owned(),
        }
    }
}

/// `pieces[start..end]`, or nothing where that is out of range: damaged rows are shown too.
fn inner(pieces: &[Piece], start: usize, end: usize) -> &[Piece] {
    pieces.get(start..end).unwrap_or_default()
}

/// The token of `id`; ids outside the vocabulary read `[id 99999]`.
pub(super) fn token(vocabulary: &Vocabulary, id: u32) -> String {
    vocabulary.token(id).map_or_else(|| format!("[id {id}]"), str::to_owned)
}

/// What draws the masks of a pretrain dataset that has none of its own.
fn dynamic_masker(dataset: &Dataset) -> Result<Option<Masker>> {
    let manifest = dataset.manifest();
    if manifest.kind != Kind::Pretrain || manifest.columns.has_static_masks() {
        return Ok(None);
    }
    let config: InstanceConfig = serde_json::from_value(manifest.configuration.clone())
        .map_err(|e| Error::invalid(dataset.dir(), format!("the configuration cannot be read: {e}")))?;
    Ok(Some(Masker::new(config.masking_config(), dataset.vocabulary())))
}
