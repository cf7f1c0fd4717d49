//! `cloze-prep`: text to shards. Everything is in the library; this maps outcomes to exit codes.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use cloze_prep::cli::{Cli, Outcome, is_broken_pipe, run, still_told};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let result = run(&cli, &mut out).and_then(|outcome| still_told(outcome, out.flush().map_err(Into::into)));
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Different) => ExitCode::from(1),
        // Whoever reads our output has seen enough.
        Err(e) if is_broken_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            // The library names the path of every failure; a bare one is that of writing the result.
            let place = if e.is::<io::Error>() { "standard output: " } else { "" };
            eprintln!("error: {place}{e}");
            ExitCode::from(2)
        }
    }
}
