//! What a dataset is, in figures: from its manifest, which costs nothing, and optionally from a survey of its rows.

use std::path::Path;

use cloze_formats::finetune::GlueTask;
use cloze_formats::manifest::{Kind, Manifest, Source, VocabularyInfo};
use serde::Serialize;

use super::survey::Survey;
use crate::Result;

/// Figures of a dataset.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// Directory as given.
    pub dataset: String,
    /// What the rows are.
    pub kind: Kind,
    /// Version of the format.
    pub format_version: u32,
    /// Program that wrote it.
    pub writer: String,
    /// Rows: documents, instances, windows or examples.
    pub rows: u64,
    /// Tokens of the token column, special ones included.
    pub tokens: u64,
    /// Shard files.
    pub num_shards: usize,
    /// Rows of the smallest and of the largest shard.
    pub rows_per_shard: (u64, u64),
    /// Rows of each shard, in order.
    pub shards: Vec<u64>,
    /// Bytes of all shards.
    pub bytes: u64,
    /// Mean tokens per row.
    pub tokens_per_row: f64,
    /// Share of `[UNK]` among the tokens.
    pub unknown_share: f64,
    /// Corpus: sentences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentences: Option<u64>,
    /// Share of padding if every row were padded to the longest one; not for corpora.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub padding_share: Option<f64>,
    /// Pretrain: share of the rows whose segment B is random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub random_next_share: Option<f64>,
    /// Pretrain with static masks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masking: Option<MaskingFacts>,
    /// SQuAD: share of the windows that hold the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_share: Option<f64>,
    /// SQuAD v2.0: share of the windows whose question has no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impossible_share: Option<f64>,
    /// GLUE: rows per class, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<(String, u64)>,
    /// GLUE: scores, in regression tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scores: Option<ScoreFacts>,
    /// Rows by tokens; corpus: sentences by tokens. Entry `n` counts those of `n` tokens.
    pub length_histogram: Vec<u64>,
    /// The vocabulary.
    pub vocabulary: VocabularyInfo,
    /// Columns, as `name: type`.
    pub columns: serde_json::Value,
    /// Everything that decided the bytes.
    pub configuration: serde_json::Value,
    /// What it was made from.
    pub sources: Vec<Source>,
    /// The held-out part, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out_rows: Option<u64>,
    /// What reading rows tells; absent where none were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub survey: Option<Survey>,
}

/// Scores of a regression task.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ScoreFacts {
    /// The lowest.
    pub min: f32,
    /// The mean.
    pub mean: f64,
    /// The highest.
    pub max: f32,
}

/// Rates of static masks.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MaskingFacts {
    /// Positions to predict per row.
    pub predictions_per_row: f64,
    /// Positions to predict as a share of all tokens.
    pub share_of_tokens: f64,
    /// Share of the positions that show `[MASK]`.
    pub mask: f64,
    /// Share that shows a random token.
    pub random: f64,
    /// Share that shows the token itself.
    pub kept: f64,
}

impl Facts {
    /// What its rows are called.
    pub fn rows_name(&self) -> &'static str {
        match self.kind {
            Kind::Corpus => "documents",
            Kind::Pretrain => "instances",
            Kind::Squad => "windows",
            Kind::Glue => "examples",
        }
    }

    /// What one of them is called.
    pub fn row_name(&self) -> &'static str {
        self.rows_name().trim_end_matches('s')
    }

    /// Bytes of a source, where they say something: those of a corpus are its manifest's.
    pub fn source_bytes(source: &Source) -> Option<u64> {
        (source.format != "corpus").then_some(source.bytes)
    }

    /// Of the dataset in `dir`, by its manifest.
    ///
    /// # Errors
    /// No or a damaged manifest.
    pub fn read(dir: &Path) -> Result<Self> {
        let manifest = Manifest::read(dir)?;
        let held_out = Manifest::read(&dir.join(crate::build::HELD_OUT)).ok();
        Ok(Self::of(dir, manifest, held_out.map(|m| m.num_rows())))
    }

    fn of(dir: &Path, m: Manifest, held_out_rows: Option<u64>) -> Self {
        let s = &m.statistics;
        let task = GlueTask::of(&m);
        let longest = s.length_histogram.len().saturating_sub(1) as u64;
        let rows_per_shard = || m.shards.iter().map(|shard| shard.rows);
        let masked = s.masked.total();
        Self {
            dataset: dir.display().to_string(),
            kind: m.kind,
            format_version: m.version,
            writer: m.writer.clone(),
            rows: s.rows,
            tokens: s.tokens,
            num_shards: m.shards.len(),
            rows_per_shard: (rows_per_shard().min().unwrap_or(0), rows_per_shard().max().unwrap_or(0)),
            shards: rows_per_shard().collect(),
            bytes: m.num_bytes(),
            tokens_per_row: share(s.tokens, s.rows),
            unknown_share: share(s.unknown_tokens, s.tokens),
            sentences: (m.kind == Kind::Corpus).then_some(s.sentences),
            padding_share: (m.kind != Kind::Corpus).then(|| 1.0 - share(s.tokens, s.rows * longest)),
            random_next_share: (m.kind == Kind::Pretrain).then(|| share(s.random_next, s.rows)),
            masking: m.columns.has_static_masks().then(|| MaskingFacts {
                predictions_per_row: share(masked, s.rows),
                share_of_tokens: share(masked, s.tokens),
                mask: share(s.masked.mask, masked),
                random: share(s.masked.random, masked),
                kept: share(s.masked.kept, masked),
            }),
            answered_share: (m.kind == Kind::Squad).then(|| share(s.answered, s.rows)),
            impossible_share: (s.impossible > 0).then(|| share(s.impossible, s.rows)),
            labels: s.labels.iter().map(|(&class, &count)| (task.name(class.into()), count)).collect(),
            scores: s.scores.map(|s| ScoreFacts { min: s.min, mean: s.mean(), max: s.max }),
            length_histogram: s.length_histogram.clone(),
            columns: serde_json::to_value(m.columns).unwrap_or_default(),
            vocabulary: m.vocabulary,
            configuration: m.configuration,
            sources: m.sources,
            held_out_rows,
            survey: None,
        }
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
