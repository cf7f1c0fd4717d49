//! The command line of `cloze-prep`: one module a command, flags first, then what it does with them.

mod arguments;
mod build;
mod diff;
mod export;
mod finish;
mod glue;
mod import;
mod inspect;
mod interrupt;
mod punkt;
mod show;
mod squad;
mod tokenize;
mod verify;
mod vocab;

use std::io::{self, IsTerminal, Write};

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;

pub use build::BuildArgs;
pub use diff::DiffArgs;
pub use export::ExportArgs;
pub use finish::FinishArgs;
pub use glue::GlueArgs;
pub use import::ImportArgs;
pub use inspect::InspectArgs;
pub use punkt::PunktArgs;
pub use show::ShowArgs;
pub use squad::SquadArgs;
pub use tokenize::TokenizeArgs;
pub use verify::VerifyArgs;
pub use vocab::VocabArgs;

use crate::inspect::render::counted;
use crate::progress::Progress;

/// Turn text into the datasets a BERT is trained on, and look into them.
///
/// Pre-training takes two steps: `tokenize` makes a corpus from text, `build` makes the shards of a phase from the
/// corpus. `squad` and `glue` make fine-tuning datasets. `inspect`, `show`, `verify` and `diff` look into any of them;
/// `export` and `import` exchange them with other tools.
///
/// Interrupted runs are resumed by running the same command again. Several processes, on one machine or many that share a
/// file system, make a dataset together when each is told its --rank and --world-size (or finds them in the environment of
/// torchrun, Slurm or Kubernetes); `finish` then publishes it, the same to the byte as one process makes.
///
/// Exit code 0: done; 1: `verify` found damage, `diff` a difference; 2: bad input or usage; 130 and 143: Ctrl-C, SIGTERM.
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
    /// Publish what several processes of `tokenize` or `build` have made, once all of them are done.
    ///
    /// Checks that everything is there first, and says which rank has to run again where something is missing.
    Finish(FinishArgs),
    /// Make a question-answering dataset from SQuAD JSON, v1.1 or v2.0.
    Squad(SquadArgs),
    /// Make datasets of the files of a GLUE task: train, dev, test.
    Glue(GlueArgs),
    /// Learn a WordPiece vocabulary from text.
    Vocab(VocabArgs),
    /// Learn the parameters of the sentence splitter for a language from text in it.
    ///
    /// The text is read twice: standard input, which can be read once, is refused.
    Punkt(PunktArgs),
    /// What a dataset holds: counts, lengths, masks, tokens, configuration, sources; with --html as a report with plots.
    Inspect(InspectArgs),
    /// Rows of a dataset as text; masks are marked and say what they hide.
    Show(ShowArgs),
    /// Read all of a dataset and check it; exit code 1 if anything is damaged.
    Verify(VerifyArgs),
    /// Write a dataset as the files of another tool: NVIDIA's HDF5, LDDL's Parquet, TFRecord, Parquet, `datasets`.
    Export(ExportArgs),
    /// Make a dataset of the files of another tool; every row is checked.
    Import(ImportArgs),
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

/// `outcome`, where writing about it went well or only nobody read on: what was found is so all the same.
///
/// # Errors
/// It was not written for another reason.
pub fn still_told(outcome: Outcome, written: anyhow::Result<()>) -> anyhow::Result<Outcome> {
    match written {
        Err(error) if !is_broken_pipe(&error) => Err(error),
        _ => Ok(outcome),
    }
}

/// Whether whoever reads our output has seen enough.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|e| e.downcast_ref::<io::Error>()).any(|e| e.kind() == io::ErrorKind::BrokenPipe)
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
        Command::Finish(args) => args.run(context)?,
        Command::Squad(args) => args.run(context)?,
        Command::Glue(args) => args.run(context)?,
        Command::Vocab(args) => args.run(context)?,
        Command::Punkt(args) => args.run(context)?,
        Command::Inspect(args) => args.run(context)?,
        Command::Show(args) => args.run(context)?,
        Command::Verify(args) => return args.run(context),
        Command::Export(args) => args.run(context)?,
        Command::Import(args) => args.run(context)?,
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
            serde_json::to_writer_pretty(&mut *self.out, value).map_err(io::Error::from)?;
            writeln!(self.out)?;
        }
        Ok(self.json)
    }

    /// Writes how many broken rows were left out, if any.
    fn say_skipped(&mut self, rows: u64) -> io::Result<()> {
        match rows {
            0 => Ok(()),
            _ => writeln!(self.out, "  skipped    {}: broken", counted(rows, "row")),
        }
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
    use cloze_formats::config::{Compat, InstanceConfig, MaskingMode};

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

    #[test]
    fn compat_means_static_masks_unless_the_user_says_otherwise() {
        let parse = |args: &[&str]| {
            let words = ["cloze-prep", "build", "--corpus", "c", "--out", "o", "--compat", "nvidia"].iter().chain(args);
            match Cli::parse_from(words).command {
                Command::Build(args) => args.config(),
                other => panic!("{other:?}"),
            }
        };
        let config = parse(&[]);
        assert_eq!((config.masking, config.compat, config.dupe_factor), (MaskingMode::Static, Some(Compat::Nvidia), 5));
        assert_eq!(config.validate(), Ok(()));
        let problem = parse(&["--masking", "dynamic"]).validate().unwrap_err();
        assert!(problem.contains("expected static masking, found dynamic"), "{problem}");
    }

    #[test]
    fn a_short_sequence_lowers_the_default_number_of_predictions() {
        let words = "cloze-prep build --corpus c --out o --max-seq-length 10 --whole-word-masking".split(' ');
        let Command::Build(args) = Cli::parse_from(words).command else { panic!("build was asked for") };
        let config = args.config();
        assert_eq!((config.max_predictions_per_seq, config.whole_word_masking), (10, true));
        assert_eq!(config.validate(), Ok(()));
    }
}
