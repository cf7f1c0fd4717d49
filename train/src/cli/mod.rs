//! The command line of `cloze-train`: one module per command.

mod bench;
mod evaluate;
mod export;
mod finetune;
mod flags;
mod import;
mod pretrain;
mod recipes;
mod report;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::{Error, Result};
use crate::progress::{say, say_always};
use crate::summary::Summary;
use crate::world::spawn;
use bench::BenchCommand;
use evaluate::EvaluateCommand;
use export::ExportArgs;
use finetune::FinetuneCommand;
use import::ImportArgs;
use pretrain::PretrainArgs;
use recipes::RecipesArgs;
use report::ReportArgs;

/// Pre-trains, fine-tunes and evaluates BERT from Cloze datasets.
///
/// Results go to stdout, progress to stderr. Exit codes: 0 done; 2 bad input or any other error, told in one line; 130, 143
/// and 138 stopped by SIGINT (Ctrl-C), SIGTERM or SIGUSR1 (Slurm's warning) after a clean checkpoint, to be continued with --resume.
#[derive(Debug, Parser)]
#[command(name = "cloze-train", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a BERT on masked tokens and next sentences (phase 1, or phase 2 with --init).
    Pretrain(PretrainArgs),
    /// List the recipes that come with the program, or print one to start your own from.
    Recipes(RecipesArgs),
    /// Train a BERT on a labelled task and evaluate it after every epoch.
    #[command(subcommand)]
    Finetune(FinetuneCommand),
    /// Score a fine-tuned checkpoint: predictions and eval.json.
    #[command(subcommand)]
    Evaluate(EvaluateCommand),
    /// Predict with a fine-tuned checkpoint; labels are not needed.
    #[command(subcommand)]
    Predict(EvaluateCommand),
    /// Draw the curves of one or several runs, with data, recipe and machine, as one HTML file.
    Report(ReportArgs),
    /// Make a model directory of another program's checkpoint: Hugging Face, PyTorch, NVIDIA, TensorFlow.
    Import(ImportArgs),
    /// Write a checkpoint as another program's: Hugging Face, PyTorch, NVIDIA, TensorFlow.
    Export(ExportArgs),
    /// Measure speed on this machine.
    #[command(subcommand)]
    Bench(BenchCommand),
}

impl Command {
    fn run(&self) -> Result<Summary> {
        match self {
            Self::Pretrain(args) => args.run(),
            Self::Recipes(args) => args.run(),
            Self::Finetune(command) => command.run(),
            Self::Evaluate(command) | Self::Predict(command) => command.run(),
            Self::Import(args) => args.run(),
            Self::Export(args) => args.run(),
            Self::Bench(command) => command.run(),
            Self::Report(args) => args.run(),
        }
    }

    /// How many processes to start for this command, if this process is to start them.
    fn to_spawn(&self) -> Option<u32> {
        match self {
            Self::Pretrain(args) => args.world.to_spawn(),
            Self::Finetune(command) => command.world().to_spawn(),
            _ => None,
        }
    }

    fn json(&self) -> bool {
        match self {
            Self::Pretrain(args) => args.start.json,
            Self::Recipes(args) => args.json,
            Self::Finetune(command) => command.json(),
            Self::Evaluate(command) | Self::Predict(command) => command.json(),
            Self::Import(args) => args.json,
            Self::Export(args) => args.json,
            Self::Bench(command) => command.json(),
            Self::Report(args) => args.json,
        }
    }
}

/// Runs the command of this process's arguments, writing its summary to `out`.
pub fn main(out: &mut dyn Write) -> ExitCode {
    let cli = Cli::parse();
    if let Some(num_processes) = cli.command.to_spawn() {
        return spawn(num_processes).map_or_else(|error| failed(&error), ExitCode::from);
    }
    let summary = match cli.command.run() {
        Ok(summary) => summary,
        Err(error) => return failed(&error),
    };
    if let Err(error) = summary.print(out, cli.command.json()).and_then(|()| out.flush()) {
        // Who closed the pipe has read what they wanted.
        if error.kind() != ErrorKind::BrokenPipe {
            say(&format!("error: stdout: {error}"));
            return ExitCode::from(2);
        }
    }
    match summary.stopped_by {
        None => ExitCode::SUCCESS,
        Some(signal) => {
            say(&stopped(signal, &summary));
            ExitCode::from(128 + u8::try_from(signal).unwrap_or(0))
        }
    }
}

/// Tells of an error; not of one that another process of the run has told of.
fn failed(error: &Error) -> ExitCode {
    if !matches!(error, Error::Peer { .. }) {
        say_always(&format!("error: {error}"));
    }
    ExitCode::from(2)
}

fn stopped(signal: i32, summary: &Summary) -> String {
    let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
    match summary.checkpoint() {
        Some(checkpoint) => format!("stopped by {name}; saved {checkpoint}, continue with --resume"),
        None => format!("stopped by {name}; nothing was written"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::PretrainRecipe;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_override_the_recipe() {
        let arguments =
            ["cloze-train", "pretrain", "--data", "d", "--out", "o", "--steps", "7", "--learning-rate", "1e-3"];
        let Command::Pretrain(args) = Cli::parse_from(arguments).command else { panic!("another command") };
        let mut stored = PretrainRecipe::default();
        stored.optimizer.weight_decay = 0.5;
        let recipe = args.resolve(Some(stored)).unwrap();
        assert_eq!(
            (recipe.schedule.steps, recipe.optimizer.learning_rate, recipe.optimizer.weight_decay),
            (7, Some(1e-3), 0.5)
        );
    }
}
