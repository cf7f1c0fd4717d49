//! `cloze-train`: pre-trains, fine-tunes and evaluates BERT.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use cloze_torch_ext::load::{self, Cuda};

fn main() -> ExitCode {
    tune_environment();
    // Before anything asks torch about CUDA, which it decides for good at the first question.
    let cuda = load::cuda();
    if !matches!(cuda, Cuda::Loaded | Cuda::NoDriver) {
        cloze_train::progress::say(&cuda.to_string());
    }
    cloze_train::cli::main(&mut std::io::stdout().lock())
}

/// What libraries read from the environment before `main` starts, as a program on a CPU wants it.
///
/// - libtorch's OpenMP threads spin while they wait for each other, by default 300,000 times. Beside any other busy program
///   they spin away the very core that the thread they wait for needs: a small model on two shared cores trained 5 to 10
///   times slower. Sleeping at once costs an idle machine a quarter of its speed. This many turns cost it 5 %.
/// - glibc's allocator gives large blocks back to the system and gets them again, zeroed page by page, in every step;
///   keeping them made fine-tuning 10 % faster. A thread's own heaps do not keep them, so threads share one.
/// - Huge pages spare the processor looking up 4 KiB pages of buffers that are passed over once a step: 3 %.
const ENVIRONMENT: [(&str, &str); 5] = [
    ("GOMP_SPINCOUNT", "30000"),
    ("MALLOC_MMAP_MAX_", "0"),
    ("MALLOC_TRIM_THRESHOLD_", "17179869184"),
    ("MALLOC_ARENA_MAX", "1"),
    ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"),
];

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
