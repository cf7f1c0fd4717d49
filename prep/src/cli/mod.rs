//! The command line of `cloze-prep`: flags in, plans out. `run` does the work.

mod run;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use cloze_formats::config::{InstanceConfig, MaskingMode};

pub use run::{Outcome, run};

use crate::Result;
use crate::sources::{SourceFile, SourceKind, expand};

/// Turn text into the datasets a BERT is trained on, and look into them.
///
/// Pre-training takes two steps: `tokenize` makes a corpus from text, `build` makes the shards of a phase from the
/// corpus. `squad` and `glue` make fine-tuning datasets. `inspect`, `show` and `verify` look into any of them.
///
/// Interrupted runs are resumed by running the same command again. Exit code 0: done; 1: `verify` found damage;
/// 2: bad input or usage.
#[derive(Debug, Parser)]
#[command(name = "cloze-prep", version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Threads to use; 0 for one per core. Results do not depend on it.
    #[arg(long, global = true, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u16).range(..=1024))]
    pub threads: u16,
    /// No progress bars and no warnings.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Results as JSON on standard output; `show` writes one object per row.
    #[arg(long, global = true)]
    pub json: bool,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a corpus: documents, split into sentences, as WordPiece ids.
    Tokenize(TokenizeArgs),
    /// Make the pre-training shards of a phase from a corpus.
    Build(BuildArgs),
    /// Make a question-answering dataset from SQuAD v1.1 JSON.
    Squad(SquadArgs),
    /// Make classification datasets from the files of a GLUE task.
    Glue(GlueArgs),
    /// Learn a WordPiece vocabulary from text.
    Vocab(VocabArgs),
    /// What a dataset holds by its manifest: counts, lengths, masks, configuration, sources.
    Inspect(DatasetArgs),
    /// Rows of a dataset as text; masks are marked and say what they hide.
    Show(ShowArgs),
    /// Read all of a dataset and check it; exit code 1 if anything is damaged.
    Verify(DatasetArgs),
}

/// Text inputs. Plain or compressed (.gz, .zst, .bz2); globs and directories are taken.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct SourceArgs {
    /// MediaWiki XML dumps (.xml, .xml.bz2): articles only, without markup.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub wikipedia: Vec<PathBuf>,
    /// Books: every file is one document.
    #[arg(long, num_args = 1.., value_name = "FILE|DIR")]
    pub books: Vec<PathBuf>,
    /// Plain text: a blank line separates documents.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub text: Vec<PathBuf>,
    /// One sentence a line, a blank line separates documents.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub sentences: Vec<PathBuf>,
}

impl SourceArgs {
    /// The files, in the order in which they are read.
    pub fn expand(&self) -> Result<Vec<SourceFile>> {
        let groups = [
            (SourceKind::Wikipedia, &self.wikipedia),
            (SourceKind::Books, &self.books),
            (SourceKind::Text, &self.text),
            (SourceKind::Sentences, &self.sentences),
        ];
        let mut files = Vec::new();
        for (kind, patterns) in groups.into_iter().filter(|(_, patterns)| !patterns.is_empty()) {
            files.extend(expand(kind, patterns)?);
        }
        Ok(files)
    }
}

/// A vocabulary and how text is normalised for it.
#[derive(Debug, Args)]
pub struct VocabularyArgs {
    /// WordPiece vocabulary, one token a line.
    #[arg(long, value_name = "FILE")]
    pub vocab: PathBuf,
    /// Keep case and accents, for a cased vocabulary.
    #[arg(long)]
    pub cased: bool,
}

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

/// `build`
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Corpus made by `tokenize`.
    #[arg(long, value_name = "DIR")]
    pub corpus: PathBuf,
    /// Directory of the dataset to make.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// 1: sequence length 128, 20 predictions; 2: 512 and 80.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub phase: u8,
    /// When masks are decided: once, here (static), or by the trainer, anew in each epoch (dynamic).
    #[arg(long, value_enum, default_value_t = MaskingArg::Dynamic)]
    pub masking: MaskingArg,
    /// Times each document is made into instances, each time differently [default: 5 static, 1 dynamic]
    #[arg(long, value_name = "N")]
    pub dupe_factor: Option<u32>,
    /// Seed of all draws.
    #[arg(long, default_value_t = 12345)]
    pub seed: u64,
    /// Tokens per instance at most [default: by phase]
    #[arg(long, value_name = "N")]
    pub max_seq_length: Option<u16>,
    /// Positions to predict per instance at most [default: by phase]
    #[arg(long, value_name = "N")]
    pub max_predictions_per_seq: Option<u16>,
    /// Share of the tokens to predict.
    #[arg(long, default_value_t = 0.15, value_name = "P")]
    pub masked_lm_prob: f64,
    /// Probability of an instance of shorter target length.
    #[arg(long, default_value_t = 0.1, value_name = "P")]
    pub short_seq_prob: f64,
    /// Share of the documents to keep apart for evaluation, in OUT/held-out. The same ones for each phase.
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    pub held_out: f64,
    /// Number of shards; 0 for by size.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub num_shards: u32,
}

/// When masks are decided.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum MaskingArg {
    /// Once, when shards are built.
    Static,
    /// By the trainer, anew in each epoch.
    Dynamic,
}

impl BuildArgs {
    /// The configuration that the flags stand for.
    pub fn config(&self) -> InstanceConfig {
        let masking = match self.masking {
            MaskingArg::Static => MaskingMode::Static,
            MaskingArg::Dynamic => MaskingMode::Dynamic,
        };
        let defaults = InstanceConfig::for_phase(self.phase, masking);
        InstanceConfig {
            max_seq_length: self.max_seq_length.unwrap_or(defaults.max_seq_length),
            max_predictions_per_seq: self.max_predictions_per_seq.unwrap_or(defaults.max_predictions_per_seq),
            dupe_factor: self.dupe_factor.unwrap_or(defaults.dupe_factor),
            seed: self.seed,
            masked_lm_prob: self.masked_lm_prob,
            short_seq_prob: self.short_seq_prob,
            held_out: self.held_out,
            num_shards: self.num_shards,
            ..defaults
        }
    }
}

/// `squad`
#[derive(Debug, Args)]
pub struct SquadArgs {
    /// SQuAD v1.1 JSON.
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
    /// Tokens between the starts of two windows of a long context.
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub doc_stride: u16,
    /// Tokens of the question at most; longer ones are cut.
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub max_query_length: u16,
}

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

/// `vocab`
#[derive(Debug, Args)]
pub struct VocabArgs {
    /// Inputs.
    #[command(flatten)]
    pub sources: SourceArgs,
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

/// `inspect` and `verify`
#[derive(Debug, Args)]
pub struct DatasetArgs {
    /// Dataset directory.
    pub dataset: PathBuf,
}

/// `show`
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Dataset directory.
    pub dataset: PathBuf,
    /// How many rows.
    #[arg(long, short = 'n', default_value_t = 5, value_name = "N")]
    pub count: u64,
    /// These rows, by number.
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "ROW")]
    pub rows: Vec<u64>,
    /// Rows drawn at random instead of the first ones; the value is the seed.
    #[arg(long, num_args = 0..=1, default_missing_value = "0", value_name = "SEED")]
    pub random: Option<u64>,
    /// Dynamic masks as a trainer with this seed draws them.
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    pub seed: u64,
    /// Dynamic masks as drawn in this epoch.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub epoch: u64,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn build_takes_berts_values_by_phase_and_lets_flags_override_them() {
        let parse = |args: &[&str]| {
            let words = ["cloze-prep", "build", "--corpus", "c", "--out", "o"].iter().chain(args);
            match Cli::parse_from(words).command {
                Command::Build(args) => args.config(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(parse(&[]), InstanceConfig::for_phase(1, MaskingMode::Dynamic));
        let config = parse(&["--phase", "2", "--masking", "static", "--dupe-factor", "10", "--max-seq-length", "256"]);
        assert_eq!((config.max_seq_length, config.max_predictions_per_seq, config.dupe_factor), (256, 80, 10));
    }
}
