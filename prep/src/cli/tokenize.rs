//! `tokenize`

use std::path::PathBuf;

use clap::Args;

use super::Context;
use super::arguments::{ReadArgs, SourceArgs, VocabularyArgs};
use crate::inspect::render::{bytes, percent, thousands};
use crate::tokenize::{TokenizeConfig, tokenize};

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
    /// Directory of the corpus to make.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Tokens after which a shard of the corpus is closed.
    #[arg(long, default_value_t = 64 << 20, value_name = "N")]
    pub tokens_per_shard: u64,
    /// Start anew where an interrupted run could be resumed.
    #[arg(long)]
    pub restart: bool,
}

impl TokenizeArgs {
    pub(super) fn run(&self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let vocabulary = self.vocabulary.read(context)?;
        let sources = self.sources.expand()?;
        let config = TokenizeConfig {
            cased: self.vocabulary.cased,
            tokens_per_shard: self.tokens_per_shard,
            dedup: self.dedup,
            min_document_chars: self.min_document_chars,
            reading: self.reading.options(),
        };
        let summary = tokenize(&config, &sources, &vocabulary, &self.out, self.restart, &context.progress)?;
        for row in &summary.broken_rows {
            context.warn(row);
        }
        if context.emit_json(&summary)? {
            return Ok(());
        }
        let s = &summary;
        writeln!(context.out, "{}: corpus of {} documents", self.out.display(), thousands(s.documents))?;
        writeln!(context.out, "  sentences  {}", thousands(s.sentences))?;
        writeln!(context.out, "  tokens     {}, [UNK] {}", thousands(s.tokens), percent(s.unknown_rate()))?;
        let (size, rate) = (bytes(s.text_bytes), s.megabytes_per_second());
        writeln!(context.out, "  text       {size} in {:.1} s, {rate:.1} MB/s", s.seconds)?;
        for (reason, count) in &s.skipped {
            let unit = if matches!(reason.as_str(), "null" | "broken") { "rows" } else { "pages" };
            writeln!(context.out, "  skipped    {} {unit}: {reason}", thousands(*count))?;
        }
        let dropped = [
            (s.documents_without_text, "no text"),
            (s.short_documents, "too short"),
            (s.duplicate_documents, "duplicate"),
        ];
        for (count, reason) in dropped.into_iter().filter(|(count, _)| *count > 0) {
            writeln!(context.out, "  dropped    {} documents: {reason}", thousands(count))?;
        }
        for source in &s.sources_without_documents {
            context.warn(&format!("{source}: no document in it"));
        }
        Ok(())
    }
}
