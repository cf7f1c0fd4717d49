//! Ctrl-C.

use std::io::Write;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// From here on Ctrl-C and SIGTERM end the program with a line that says how to go on. Whatever is on disk then is what
/// kill -9 would leave too: finished shards and temporary files, which the next run keeps and removes.
pub(super) fn explain(command: &'static str) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // Over what is left of a progress bar. Whether anybody still reads it does not matter.
            let line = format!("\r\x1b[Kinterrupted; the same `cloze-prep {command}` command again goes on from here");
            let line = if is_terminal() { line } else { line.trim_start_matches("\r\x1b[K").to_owned() };
            let _ = writeln!(std::io::stderr(), "{line}");
            std::process::exit(128 + signal);
        }
    })?;
    Ok(())
}

fn is_terminal() -> bool {
    use std::io::IsTerminal;
    std::io::stderr().is_terminal()
}
