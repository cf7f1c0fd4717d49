//! The command line of `cloze-prep`: one module a command, flags first, then what it does with them.

mod arguments;
mod build;
mod diff;
mod glue;
mod inspect;
mod show;
mod squad;
mod tokenize;
mod verify;
mod vocab;

use std::io::{IsTerminal, Write};

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;

pub use build::BuildArgs;
pub use diff::DiffArgs;
pub use glue::GlueArgs;
pub use inspect::InspectArgs;
pub use show::ShowArgs;
pub use squad::SquadArgs;
pub use tokenize::TokenizeArgs;
pub use verify::VerifyArgs;
pub use vocab::VocabArgs;

use crate::progress::Progress;

/// Turn text into the datasets a BERT is trained on, and look into them.
///
/// Pre-training takes two steps: `tokenize` makes a corpus from text, `build` makes the shards of a phase from the
/// corpus. `squad` and `glue` make fine-tuning datasets. `inspect`, `show`, `verify` and `diff` look into any of them.
///
/// Interrupted runs are resumed by running the same command again. Exit code 0: done; 1: `verify` found damage, `diff` a difference;
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
    /// Colours; auto: on a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, value_enum, default_value_t = ColourArg::Auto, value_name = "WHEN")]
    pub color: ColourArg,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ColourArg {
    /// On a terminal, unless the environment has NO_COLOR.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl ColourArg {
    fn applies(self) -> bool {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match self {
            Self::Auto => std::io::stdout().is_terminal() && !no_colour,
            Self::Always => true,
            Self::Never => false,
        }
    }
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
    /// What a dataset holds: counts, lengths, masks, tokens, configuration, sources; with --html as a report with plots.
    Inspect(InspectArgs),
    /// Rows of a dataset as text; masks are marked and say what they hide.
    Show(ShowArgs),
    /// Read all of a dataset and check it; exit code 1 if anything is damaged.
    Verify(VerifyArgs),
    /// How two datasets differ: configuration, vocabulary, sources, statistics, rows; exit code 1 if they do.
    Diff(DiffArgs),
}

/// How a command ended, when it ended well enough to say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Done,
    /// `verify` found damage, or `diff` a difference.
    Different,
}

/// Runs the command; results go to `out`, progress and warnings to standard error.
///
/// # Errors
/// Bad input; the message says what was expected, what was found and what to do.
pub fn run(cli: &Cli, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    rayon::ThreadPoolBuilder::new().num_threads(cli.threads.into()).build_global().context("cannot start threads")?;
    let (json, quiet, colour) = (cli.json, cli.quiet, cli.color.applies());
    let mut context = Context { json, quiet, colour, progress: Progress::new(quiet), out };
    let context = &mut context;
    match &cli.command {
        Command::Tokenize(args) => args.run(context)?,
        Command::Build(args) => args.run(context)?,
        Command::Squad(args) => args.run(context)?,
        Command::Glue(args) => args.run(context)?,
        Command::Vocab(args) => args.run(context)?,
        Command::Inspect(args) => args.run(context)?,
        Command::Show(args) => args.run(context)?,
        Command::Verify(args) => return args.run(context),
        Command::Diff(args) => return args.run(context),
    }
    Ok(Outcome::Done)
}

/// What every command is given: where results, progress and warnings go.
struct Context<'a> {
    json: bool,
    quiet: bool,
    /// Whether text on standard output is coloured.
    colour: bool,
    progress: Progress,
    out: &'a mut dyn Write,
}

impl Context<'_> {
    /// Writes `value` as JSON if asked to, and says whether it did.
    fn emit_json(&mut self, value: &impl Serialize) -> anyhow::Result<bool> {
        if self.json {
            serde_json::to_writer_pretty(&mut *self.out, value)?;
            writeln!(self.out)?;
        }
        Ok(self.json)
    }

    fn warn(&self, message: &str) {
        if !self.quiet {
            eprintln!("warning: {message}");
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use cloze_formats::config::{InstanceConfig, MaskingMode};

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
