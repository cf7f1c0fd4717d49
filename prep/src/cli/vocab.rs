//! `vocab`

use std::path::PathBuf;

use clap::Args;

use super::Context;
use super::arguments::{ReadArgs, SourceArgs};
use crate::inspect::render::thousands;
use crate::vocab::{VocabConfig, vocab};

/// `vocab`
#[derive(Debug, Args)]
pub struct VocabArgs {
    /// Inputs.
    #[command(flatten)]
    pub sources: SourceArgs,
    /// How they are read.
    #[command(flatten)]
    pub reading: ReadArgs,
    /// Tokens of the vocabulary, special tokens included.
    #[arg(long, default_value_t = 30522, value_name = "N")]
    pub vocab_size: usize,
    /// Least number of occurrences of a pair of pieces that is joined.
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub min_frequency: u64,
    /// Keep case and accents.
    #[arg(long)]
    pub cased: bool,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

impl VocabArgs {
    pub(super) fn run(&self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let config = VocabConfig {
            vocab_size: self.vocab_size,
            cased: self.cased,
            min_frequency: self.min_frequency,
            reading: self.reading.options(),
            ..VocabConfig::default()
        };
        let s = vocab(&config, &self.sources.expand()?, &self.out, &context.progress)?;
        for row in &s.broken_rows {
            context.warn(row);
        }
        if context.emit_json(&s)? {
            return Ok(());
        }
        let (tokens, words) = (thousands(s.num_tokens as u64), thousands(s.num_words as u64));
        writeln!(context.out, "{}: {tokens} tokens from {words} different words", self.out.display())?;
        context.say_skipped(s.skipped_rows)?;
        if s.num_tokens < self.vocab_size {
            let (wanted, least) = (thousands(self.vocab_size as u64), self.min_frequency);
            context
                .warn(&format!("the text has pieces for {tokens} of {wanted} tokens that occur {least} times or more"));
        }
        Ok(())
    }
}
