//! `cloze-train`: pre-trains, fine-tunes and evaluates BERT.

use std::process::ExitCode;

use cloze_torch_ext::load::{self, Cuda};

fn main() -> ExitCode {
    // Before anything asks torch about CUDA, which it decides for good at the first question.
    let cuda = load::cuda();
    if !matches!(cuda, Cuda::Loaded | Cuda::NoDriver) {
        cloze_train::progress::say(&cuda.to_string());
    }
    cloze_train::cli::main(&mut std::io::stdout().lock())
}
