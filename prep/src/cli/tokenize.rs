//! `tokenize`

use std::path::PathBuf;

use clap::Args;

use super::Context;
use super::arguments::{SourceArgs, VocabularyArgs};
use crate::inspect::render::{bytes, percent, thousands};
use crate::sentences::SentenceModel;
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
    /// Parameters for splitting sentences, made by `punkt`; English ones are built in.
    #[arg(long, value_name = "FILE")]
    pub sentence_model: Option<PathBuf>,
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
        let sentence_model = self.sentence_model.as_deref().map(SentenceModel::read).transpose()?.unwrap_or_default();
        let (cased, tokens_per_shard) = (self.vocabulary.cased, self.tokens_per_shard);
        let config = TokenizeConfig { cased, tokens_per_shard, sentence_model };
        let summary = tokenize(&config, &sources, &vocabulary, &self.out, self.restart, &context.progress)?;
        if context.emit_json(&summary)? {
            return Ok(());
        }
        let s = &summary;
        writeln!(context.out, "{}: corpus of {} documents", self.out.display(), thousands(s.documents))?;
        writeln!(context.out, "  sentences  {}", thousands(s.sentences))?;
        writeln!(context.out, "  tokens     {}, [UNK] {}", thousands(s.tokens), percent(s.unknown_rate()))?;
        let (size, rate) = (bytes(s.text_bytes), s.megabytes_per_second());
        writeln!(context.out, "  text       {size} in {:.1} s, {rate:.1} MB/s", s.seconds)?;
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
}
