//! `glue`

use std::path::PathBuf;

use clap::Args;

use super::Context;
use super::arguments::VocabularyArgs;
use crate::glue::{GlueConfig, glue};
use crate::inspect::render::counted;

/// `glue`
#[derive(Debug, Args)]
pub struct GlueArgs {
    /// The task: cola, sst-2, mrpc, sts-b, qqp, mnli, qnli, rte, wnli, or ax (the diagnostic set).
    #[arg(long)]
    pub task: String,
    /// Directory with the task's official files: train.tsv, dev.tsv, test.tsv; MNLI: dev_matched.tsv and so on; MRPC: also
    /// msr_paraphrase_train.txt with dev_ids.tsv; AX: diagnostic.tsv. Those that are not there are left out.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Vocabulary.
    #[command(flatten)]
    pub vocabulary: VocabularyArgs,
    /// Directory to make a dataset per file in: OUT/train, OUT/dev, OUT/test; MNLI: OUT/dev_matched and so on.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Tokens per example at most; longer ones are cut, pairs at their longer sentence first.
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub max_seq_length: u16,
}

impl GlueArgs {
    pub(super) fn run(&self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let vocabulary = self.vocabulary.read(context)?;
        let config =
            GlueConfig { task: self.task.clone(), max_seq_length: self.max_seq_length, cased: self.vocabulary.cased };
        let splits = glue(&config, &self.dir, &vocabulary, &self.out, &context.progress)?;
        if context.emit_json(&splits)? {
            return Ok(());
        }
        for s in &splits {
            let (examples, tokens) = (counted(s.examples, "example"), counted(s.tokens, "token"));
            writeln!(context.out, "{}: {examples}, {tokens}", s.dataset.display())?;
            if s.truncated > 0 {
                writeln!(context.out, "  {} cut to {} tokens", counted(s.truncated, "example"), self.max_seq_length)?;
            }
            if s.skipped > 0 {
                writeln!(context.out, "  {} without an example left out", counted(s.skipped, "row"))?;
            }
            if s.empty > 0 {
                writeln!(context.out, "  {} with a sentence without text", counted(s.empty, "example"))?;
            }
        }
        Ok(())
    }
}
