//! SQuAD v1.1 and v2.0 in their official layout, as windows of `[CLS] question [SEP] context [SEP]`.
//!
//! Source: `convert_examples_to_features` of google-research/bert's `run_squad.py`. Where that maps characters to tokens by way
//! of white-space words, offsets here go from each token straight to the characters of the context.

use std::path::Path;
use std::sync::Arc;

use cloze_formats::dataset::{EXAMPLES, refuse_finished};
use cloze_formats::finetune::SquadVersion;
use cloze_formats::manifest::VocabularyInfo;
use cloze_formats::schema::Layout;
use cloze_formats::shard::ShardWriter;
use cloze_formats::{DatasetSpec, DatasetWriter, Kind, SquadRow, Vocabulary};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::progress::Progress;
use crate::tokenize::{WRITER, describe_input, source_entry};
use crate::wordpiece::{Encoder, WordPiece};
use crate::{Error, Result};

mod file;
mod windows;

use file::{Paragraph, SquadData, read};
use windows::{Window, windows};

/// Paragraphs worked on at once; bounds memory.
const PARAGRAPHS_AT_ONCE: usize = 256;

/// Everything that decides the bytes of a SQuAD dataset; stored whole in its manifest, with the version of its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SquadConfig {
    /// Tokens per window at most, special ones and the question included. Default 384.
    pub max_seq_length: u16,
    /// Context tokens between the starts of two windows. Default 128.
    pub doc_stride: u16,
    /// Tokens of the question at most; longer ones lose their end. Default 64.
    pub max_query_length: u16,
    /// Whether the vocabulary keeps case and accents. Default false.
    pub cased: bool,
}

/// The configuration as a manifest has it.
#[derive(Serialize)]
struct Configuration<'a> {
    version: SquadVersion,
    #[serde(flatten)]
    config: &'a SquadConfig,
}

impl Default for SquadConfig {
    fn default() -> Self {
        Self { max_seq_length: 384, doc_stride: 128, max_query_length: 64, cased: false }
    }
}

impl SquadConfig {
    /// The stride that is taken where none is asked for: BERT's 128, or half the room for the context where that is less.
    pub fn default_doc_stride(max_seq_length: u16, max_query_length: u16) -> u16 {
        (Self::room(max_seq_length, max_query_length) / 2).clamp(1, Self::default().doc_stride)
    }

    /// Context tokens of a window beside the longest question.
    fn room(max_seq_length: u16, max_query_length: u16) -> u16 {
        max_seq_length.saturating_sub(max_query_length).saturating_sub(3)
    }

    /// Refuses limits that leave no room for question or context, and windows with gaps between them.
    fn validate(&self, input: &Path) -> Result<()> {
        if self.max_query_length == 0 {
            return Err(Error::invalid(input, "expected a max_query_length of at least 1, found 0"));
        }
        let least = u32::from(self.max_query_length) + 4;
        if u32::from(self.max_seq_length) < least {
            let problem = format!(
                "expected a max_seq_length of at least max_query_length + 4 = {least}, found {}",
                self.max_seq_length
            );
            return Err(Error::invalid(input, problem));
        }
        if self.doc_stride == 0 {
            return Err(Error::invalid(input, "expected a doc_stride of at least 1, found 0"));
        }
        let room = Self::room(self.max_seq_length, self.max_query_length);
        if self.doc_stride > room {
            let problem = format!(
                "expected a doc_stride of at most max_seq_length - max_query_length - 3 = {room}, so that windows meet, found {}",
                self.doc_stride
            );
            return Err(Error::invalid(input, problem));
        }
        Ok(())
    }
}

/// What was made.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SquadSummary {
    /// Which SQuAD the file is of.
    pub version: SquadVersion,
    /// Questions.
    pub questions: u64,
    /// v2.0: those that have no answer in their context.
    pub impossible_questions: u64,
    /// Windows, the rows of the dataset.
    pub windows: u64,
    /// Windows that hold the answer.
    pub answered_windows: u64,
    /// Questions whose answer no single window holds whole: nothing can be learned from them. Impossible ones are not counted.
    pub unanswered_questions: u64,
    /// Questions cut at `max_query_length`.
    pub truncated_questions: u64,
    /// Tokens, special ones included.
    pub tokens: u64,
    /// `[UNK]` among them.
    pub unknown_tokens: u64,
}

/// Turns the SQuAD file `input`, v1.1 or v2.0 by its content, into the dataset `out`.
///
/// Training labels come from the first answer of a question; contexts and all answers go into the side file
/// `examples.jsonl` for evaluation. Windows without the answer are labelled (0, 0), all those of an impossible question among them; the
/// plausible answers that v2.0 gives to those are left out.
///
/// # Errors
/// Limits without room for question and context or with gaps between windows, JSON that is malformed (line and column), a question or context
/// without text, an answer that is not where `answer_start` says, a question without an answer that is not impossible or the
/// reverse, a repeated question id, or an output that cannot be written. All input is checked before anything is written.
pub fn squad(
    config: &SquadConfig,
    input: &Path,
    vocabulary: &Vocabulary,
    out: &Path,
    progress: &Progress,
) -> Result<SquadSummary> {
    config.validate(input)?;
    refuse_finished(out)?;
    let SquadData { version, paragraphs } = read(input)?;
    let source = describe_input(input, "squad", |_| ())?;
    let spec = DatasetSpec {
        writer: WRITER.to_owned(),
        kind: Kind::Squad,
        layout: Layout::new(Kind::Squad, vocabulary.len(), false),
        vocabulary: VocabularyInfo::new(vocabulary, config.cased),
        configuration: serde_json::json!(Configuration { version, config }),
        inputs: serde_json::json!([source]),
    };
    let summary = SquadSummary { version, ..SquadSummary::default() };
    let (writer, summary) = DatasetWriter::create(out, spec, vocabulary)?.attempt(|writer| {
        writer.write_file(EXAMPLES, &side_file(&paragraphs))?;
        write_windows(config, input, &paragraphs, vocabulary, writer, summary, progress)
    })?;
    writer.publish(vec![source_entry(&source, summary.questions)])?;
    Ok(summary)
}

/// Makes the one shard, and adds to `summary` what is in it.
fn write_windows(
    config: &SquadConfig,
    input: &Path,
    paragraphs: &[Paragraph],
    vocabulary: &Vocabulary,
    writer: &DatasetWriter,
    mut summary: SquadSummary,
    progress: &Progress,
) -> Result<SquadSummary> {
    let mut shard = writer.shard(0)?;
    let words = Arc::new(WordPiece::new(vocabulary, config.cased));
    let mut bar = progress.count("paragraphs", paragraphs.len() as u64);
    for chunk in paragraphs.chunks(PARAGRAPHS_AT_ONCE) {
        let made: Result<Vec<Vec<Question<'_>>>> = chunk
            .par_iter()
            .map_init(
                || Encoder::new(Arc::clone(&words)),
                |encoder, p| questions(config, input, p, vocabulary, encoder),
            )
            .collect();
        for question in made?.iter().flatten() {
            write_question(question, &mut shard, &mut summary)?;
        }
        bar.add(chunk.len() as u64);
    }
    let counts = writer.finish_shard(0, shard, serde_json::Value::Null)?.statistics;
    summary.tokens = counts.tokens;
    summary.unknown_tokens = counts.unknown_tokens;
    Ok(summary)
}

/// One JSON object a line: everything evaluation needs to know of a question.
fn side_file(paragraphs: &[Paragraph]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for paragraph in paragraphs {
        for question in &paragraph.qas {
            let line = serde_json::json!({
                "id": question.id,
                "question": question.question,
                "context": paragraph.context,
                "answers": question.answers,
                "is_impossible": question.is_impossible(),
            });
            bytes.extend_from_slice(line.to_string().as_bytes());
            bytes.push(b'\n');
        }
    }
    bytes
}

/// A question with its windows.
struct Question<'a> {
    id: &'a str,
    is_impossible: bool,
    windows: Vec<Window>,
    truncated: bool,
}

fn questions<'a>(
    config: &SquadConfig,
    input: &Path,
    paragraph: &'a Paragraph,
    vocabulary: &Vocabulary,
    encoder: &mut Encoder,
) -> Result<Vec<Question<'a>>> {
    let context = encoder.encode_with_offsets(&paragraph.context);
    let mut questions = Vec::with_capacity(paragraph.qas.len());
    for question in &paragraph.qas {
        let mut ids = Vec::new();
        encoder.encode(&question.question, &mut ids);
        let truncated = ids.len() > usize::from(config.max_query_length);
        ids.truncate(usize::from(config.max_query_length));
        let windows = windows(config, vocabulary.special(), &ids, &context, question.first_answer());
        if windows.len() > usize::from(u16::MAX) {
            let problem = format!(
                "question {}: expected at most 65535 windows, found {}; use a larger doc_stride",
                question.id,
                windows.len()
            );
            return Err(Error::invalid(input, problem));
        }
        questions.push(Question { id: &question.id, is_impossible: question.is_impossible(), windows, truncated });
    }
    Ok(questions)
}

fn write_question(question: &Question<'_>, shard: &mut ShardWriter, summary: &mut SquadSummary) -> Result<()> {
    for (window, number) in question.windows.iter().zip(0u16..) {
        shard.push(SquadRow {
            input_ids: (&window.input_ids).into(),
            segment_a_length: window.segment_a_length,
            start_position: window.start_position,
            end_position: window.end_position,
            is_impossible: question.is_impossible,
            example_id: question.id,
            window: number,
            context_starts: &window.context_starts,
            context_ends: &window.context_ends,
            max_context: &window.max_context,
        })?;
    }
    let answered = question.windows.iter().filter(|window| window.start_position > 0).count() as u64;
    summary.questions += 1;
    summary.windows += question.windows.len() as u64;
    summary.answered_windows += answered;
    summary.impossible_questions += u64::from(question.is_impossible);
    summary.unanswered_questions += u64::from(answered == 0 && !question.is_impossible);
    summary.truncated_questions += u64::from(question.truncated);
    Ok(())
}
