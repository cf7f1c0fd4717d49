//! `cloze-train`: pre-trains, fine-tunes and evaluates BERT.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use cloze_torch_ext::load::{self, Cuda};
use cloze_train::machine::ENVIRONMENT;

fn main() -> ExitCode {
    tune_environment();
    // Before anything asks torch about CUDA, which it decides for good at the first question.
    let cuda = load::cuda();
    if !matches!(cuda, Cuda::Loaded | Cuda::NoDriver) {
        cloze_train::progress::say(&cuda.to_string());
    }
    cloze_train::cli::main(&mut std::io::stdout().lock())
}

/// Starts this program again, as the same process, with what of [`ENVIRONMENT`] the user has not set.
fn tune_environment() {
    let missing: Vec<_> = ENVIRONMENT.into_iter().filter(|(name, _)| std::env::var_os(name).is_none()).collect();
    if missing.is_empty() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| program.clone().into_os_string());
    // `exec` returns only when it fails; then the run is merely slower.
    let _ = Command::new(program).arg0(name).args(arguments).envs(missing).exec();
}
