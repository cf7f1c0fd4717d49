//! `tokenize`

use std::path::{Path, PathBuf};

use clap::Args;

use super::Context;
use super::arguments::{SourceArgs, VocabularyArgs, WorldArgs, say_what_is_next};
use super::interrupt;
use crate::inspect::render::{bytes, percent, thousands};
use crate::sentences::SentenceModel;
use crate::tokenize::{Summary, TokenizeConfig, tokenize_share};

/// `tokenize`
#[derive(Debug, Args)]
pub struct TokenizeArgs {
    /// Inputs.
    #[command(flatten)]
    pub sources: SourceArgs,
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
        };
        let summary =
            tokenize_share(&config, &sources, &vocabulary, &self.out, self.restart, world, &context.progress)?;
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
    writeln!(context.out, "{}: corpus of {} documents", out.display(), thousands(s.documents))?;
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
        writeln!(context.out, "  skipped    {} pages: {reason}", thousands(*count))?;
    }
    if s.documents_without_text > 0 {
        writeln!(context.out, "  skipped    {} documents: no text", thousands(s.documents_without_text))?;
    }
    for source in &s.sources_without_documents {
        context.warn(&format!("{source}: no document in it"));
    }
    Ok(())
}
