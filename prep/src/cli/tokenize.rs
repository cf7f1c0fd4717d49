//! `tokenize`

use std::path::{Path, PathBuf};

use clap::Args;

use super::Context;
use super::arguments::{ReadArgs, SourceArgs, VocabularyArgs, WorldArgs, say_what_is_next};
use super::interrupt;
use crate::inspect::render::{bytes, counted, percent, thousands};
use crate::sentences::SentenceModel;
use crate::tokenize::{Summary, TokenizeConfig, tokenize_share};

/// `tokenize`
#[derive(Debug, Args)]
pub struct TokenizeArgs {
    /// Inputs.
    #[command(flatten)]
    pub sources: SourceArgs,
    /// How they are read.
    #[command(flatten)]
    pub reading: ReadArgs,
    /// Drop documents whose text, after extraction, is exactly that of an earlier one.
    #[arg(long)]
    pub dedup: bool,
    /// Drop documents with fewer characters of text than this.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub min_document_chars: u64,
    /// Vocabulary.
    #[command(flatten)]
    pub vocabulary: VocabularyArgs,
    /// Parameters for splitting sentences, made by `punkt`; English ones are built in.
    #[arg(long, value_name = "FILE")]
    pub sentence_model: Option<PathBuf>,
    /// Directory of the corpus to make.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Tokens after which a shard of the corpus is closed.
    #[arg(long, default_value_t = 64 << 20, value_name = "N")]
    pub tokens_per_shard: u64,
    /// Stored bytes of consecutive files that one process tokenizes together; a larger file stands alone. No shard goes from
    /// one such slice into the next.
    #[arg(long, default_value_t = 256 << 20, value_name = "N")]
    pub slice_bytes: u64,
    /// Start anew where an interrupted run could be resumed.
    #[arg(long)]
    pub restart: bool,
    /// Several processes.
    #[command(flatten)]
    pub world: WorldArgs,
}

impl TokenizeArgs {
    pub(super) fn run(&self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let world = self.world.resolve(context)?;
        interrupt::explain("tokenize")?;
        let vocabulary = self.vocabulary.read(context)?;
        let sources = self.sources.expand()?;
        let config = TokenizeConfig {
            cased: self.vocabulary.cased,
            tokens_per_shard: self.tokens_per_shard,
            slice_bytes: self.slice_bytes,
            sentence_model: self.sentence_model.as_deref().map(SentenceModel::read).transpose()?.unwrap_or_default(),
            dedup: self.dedup,
            min_document_chars: self.min_document_chars,
            reading: self.reading.options(),
        };
        let summary =
            tokenize_share(&config, &sources, &vocabulary, &self.out, self.restart, world, &context.progress)?;
        for row in &summary.broken_rows {
            context.warn(row);
        }
        let num_broken = summary.skipped.get("broken").copied().unwrap_or(0);
        if let more @ 1.. = num_broken.saturating_sub(summary.broken_rows.len() as u64) {
            context.warn(&format!("and {}", counted(more, "more broken row")));
        }
        if context.emit_json(&summary)? {
            return Ok(());
        }
        describe(&summary, &self.out, context)?;
        if !world.is_alone() {
            say_what_is_next(context, world, &self.out)?;
        }
        Ok(())
    }
}

/// Writes what came of a corpus, or of a rank's part of it.
pub(super) fn describe(summary: &Summary, out: &Path, context: &mut Context<'_>) -> anyhow::Result<()> {
    let s = summary;
    writeln!(context.out, "{}: corpus of {}", out.display(), counted(s.documents, "document"))?;
    writeln!(context.out, "  sentences  {}", thousands(s.sentences))?;
    writeln!(context.out, "  tokens     {}, [UNK] {}", thousands(s.tokens), percent(s.unknown_rate()))?;
    let size = bytes(s.text_bytes);
    match s.seconds > 0.0 {
        true => {
            writeln!(context.out, "  text       {size} in {:.1} s, {:.1} MB/s", s.seconds, s.megabytes_per_second())?;
        }
        false => writeln!(context.out, "  text       {size}")?,
    }
    for (reason, count) in s.skipped.iter().filter(|(_, count)| **count > 0) {
        let unit = if matches!(reason.as_str(), "null" | "broken") { "row" } else { "page" };
        writeln!(context.out, "  skipped    {}: {reason}", counted(*count, unit))?;
    }
    let dropped =
        [(s.documents_without_text, "no text"), (s.short_documents, "too short"), (s.duplicate_documents, "duplicate")];
    for (count, reason) in dropped.into_iter().filter(|(count, _)| *count > 0) {
        writeln!(context.out, "  dropped    {}: {reason}", counted(count, "document"))?;
    }
    const SHOWN: usize = 5;
    for source in s.sources_without_documents.iter().take(SHOWN) {
        context.warn(&format!("{source}: no document of it is in the corpus"));
    }
    if let more @ 1.. = s.sources_without_documents.len().saturating_sub(SHOWN) {
        context.warn(&format!("and none of {}", counted(more as u64, "more source")));
    }
    Ok(())
}
