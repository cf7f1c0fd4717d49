//! `tokenize`

use std::path::PathBuf;

use clap::Args;

use super::Context;
use super::arguments::{SourceArgs, VocabularyArgs};
use crate::inspect::render::{bytes, counted, percent, thousands};
use crate::tokenize::{TokenizeConfig, tokenize};

/// `tokenize`
#[derive(Debug, Args)]
pub struct TokenizeArgs {
    /// Inputs.
    #[command(flatten)]
    pub sources: SourceArgs,
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
        let config = TokenizeConfig { cased: self.vocabulary.cased, tokens_per_shard: self.tokens_per_shard };
        let summary = tokenize(&config, &sources, &vocabulary, &self.out, self.restart, &context.progress)?;
        if context.emit_json(&summary)? {
            return Ok(());
        }
        let s = &summary;
        writeln!(context.out, "{}: corpus of {}", self.out.display(), counted(s.documents, "document"))?;
        writeln!(context.out, "  sentences  {}", thousands(s.sentences))?;
        writeln!(context.out, "  tokens     {}, [UNK] {}", thousands(s.tokens), percent(s.unknown_rate()))?;
        let (size, rate) = (bytes(s.text_bytes), s.megabytes_per_second());
        writeln!(context.out, "  text       {size} in {:.1} s, {rate:.1} MB/s", s.seconds)?;
        for (reason, count) in s.skipped.iter().filter(|(_, count)| **count > 0) {
            writeln!(context.out, "  skipped    {}: {reason}", counted(*count, "page"))?;
        }
        if s.documents_without_text > 0 {
            writeln!(context.out, "  skipped    {}: no text", counted(s.documents_without_text, "document"))?;
        }
        for source in &s.sources_without_documents {
            context.warn(&format!("{source}: no document in it"));
        }
        Ok(())
    }
}
