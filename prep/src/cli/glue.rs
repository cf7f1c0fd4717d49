//! `glue`

use std::path::PathBuf;

use clap::Args;

use super::Context;
use super::arguments::VocabularyArgs;
use crate::glue::{GlueConfig, glue};
use crate::inspect::render::thousands;

/// `glue`
#[derive(Debug, Args)]
pub struct GlueArgs {
    /// The task: sst-2.
    #[arg(long)]
    pub task: String,
    /// Directory with the task's train.tsv, dev.tsv and, if there, test.tsv.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Vocabulary.
    #[command(flatten)]
    pub vocabulary: VocabularyArgs,
    /// Directory to make OUT/train, OUT/dev and OUT/test in.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Tokens per example at most; longer ones are cut.
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub max_seq_length: u16,
}

impl GlueArgs {
    pub(super) fn run(&self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let vocabulary = self.vocabulary.read(context)?;
        let config =
            GlueConfig { task: self.task.clone(), max_seq_length: self.max_seq_length, cased: self.vocabulary.cased };
        let splits = glue(&config, &self.dir, &vocabulary, &self.out)?;
        if context.emit_json(&splits)? {
            return Ok(());
        }
        for s in &splits {
            let (examples, tokens) = (thousands(s.examples), thousands(s.tokens));
            writeln!(context.out, "{}: {examples} examples, {tokens} tokens", s.dataset.display())?;
            if s.truncated > 0 {
                writeln!(context.out, "  {} were cut to {} tokens", thousands(s.truncated), self.max_seq_length)?;
            }
        }
        Ok(())
    }
}
