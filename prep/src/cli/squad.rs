//! `squad`

use std::path::PathBuf;

use clap::Args;
use cloze_formats::finetune::SquadVersion;

use super::Context;
use super::arguments::VocabularyArgs;
use crate::inspect::render::counted;
use crate::squad::{SquadConfig, squad};

/// `squad`
#[derive(Debug, Args)]
pub struct SquadArgs {
    /// SQuAD v1.1 or v2.0 JSON.
    #[arg(long, value_name = "FILE")]
    pub input: PathBuf,
    /// Vocabulary.
    #[command(flatten)]
    pub vocabulary: VocabularyArgs,
    /// Directory of the dataset to make.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Tokens per window at most, question included.
    #[arg(long, default_value_t = 384, value_name = "N")]
    pub max_seq_length: u16,
    /// Tokens between the starts of two windows of a long context. Default 128, or half of what a question of full length leaves
    /// where that is less.
    #[arg(long, value_name = "N")]
    pub doc_stride: Option<u16>,
    /// Tokens of the question at most; longer ones are cut.
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub max_query_length: u16,
}

impl SquadArgs {
    pub(super) fn run(&self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let vocabulary = self.vocabulary.read(context)?;
        let config = SquadConfig {
            max_seq_length: self.max_seq_length,
            doc_stride: self
                .doc_stride
                .unwrap_or_else(|| SquadConfig::default_doc_stride(self.max_seq_length, self.max_query_length)),
            max_query_length: self.max_query_length,
            cased: self.vocabulary.cased,
        };
        let s = squad(&config, &self.input, &vocabulary, &self.out, &context.progress)?;
        if context.emit_json(&s)? {
            return Ok(());
        }
        let question = |n| counted(n, "question");
        let windows = counted(s.windows, "window");
        writeln!(context.out, "{}: {} in {windows}", self.out.display(), question(s.questions))?;
        if s.version == SquadVersion::V2 {
            writeln!(context.out, "  {} without an answer (SQuAD v2.0)", question(s.impossible_questions))?;
        }
        writeln!(context.out, "  {} with the answer", counted(s.answered_windows, "window"))?;
        if s.truncated_questions > 0 {
            let most = self.max_query_length;
            writeln!(context.out, "  {} cut to {most} tokens", question(s.truncated_questions))?;
        }
        if s.unanswered_questions > 0 {
            writeln!(context.out, "  {} without a window that holds the answer", question(s.unanswered_questions))?;
        }
        Ok(())
    }
}
