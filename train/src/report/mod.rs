//! `cloze-train report`: the curves of one or several runs, their data, recipes and machines, as one HTML file that needs
//! nothing else.

mod charts;
mod page;
mod plot;
mod read;
mod tables;

use std::path::{Path, PathBuf};

use cloze_formats::durable;

use crate::error::{Error, Result};
use crate::summary::Summary;
use read::Run;

/// Default name of the report: in the directory of a single run, else in the working directory.
pub const REPORT: &str = "report.html";

/// Writes the report about the runs in the directories `runs` to `out`.
///
/// # Errors
/// A run has no log or a damaged one; the file is not writable. Nothing is written then.
pub fn run(runs: &[PathBuf], out: Option<&Path>) -> Result<Summary> {
    let mut read = runs.iter().map(|dir| Run::read(dir)).collect::<Result<Vec<Run>>>()?;
    for (index, dir) in runs.iter().enumerate() {
        let place = |dir: &Path| dir.canonicalize().unwrap_or(dir.to_owned());
        if runs[..index].iter().any(|other| place(other) == place(dir)) {
            return Err(Error::file(dir, "expected different runs, found this one twice; name it once"));
        }
    }
    read::name(&mut read);
    let out = match (out, runs) {
        (Some(out), _) => out.to_owned(),
        (None, [run]) => run.join(REPORT),
        (None, _) => PathBuf::from(REPORT),
    };
    durable::write(&out, page::page(&read).as_bytes())?;
    let mut summary = Summary::default();
    summary.add("runs", runs.len(), runs.len().to_string());
    summary.add("report", out.display().to_string(), out.display().to_string());
    Ok(summary)
}
