//! metrics.jsonl: one JSON object a line, appended as the run goes.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use cloze_formats::durable;
use serde::Serialize;

use crate::error::{Error, Result};

/// Name of the log in a run directory.
pub const METRICS: &str = "metrics.jsonl";

/// The growing log of a run. Rows carry `kind` (`run`, `step`, `held_out`, `evaluation`, `event`) and `step`; one of kind `run`
/// begins each attempt.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
}

impl MetricsLog {
    /// Opens the log in the directory `run`. Of a run that is `resumed_after` a step, rows up to that step and the rows about
    /// attempts stay: the rest will be computed, and logged, again. Otherwise what is there is of a run that left no
    /// checkpoint, and goes.
    pub fn open(run: &Path, resumed_after: Option<u64>) -> Result<Self> {
        let path = run.join(METRICS);
        let old = match std::fs::read(&path) {
            Ok(old) => old,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::io(&path)(error)),
        };
        let kept: Vec<u8> = resumed_after.map_or_else(Vec::new, |step| rows_up_to(&old, step));
        if kept != old {
            durable::write(&path, &kept)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io(&path))?;
        Ok(Self { path, file })
    }

    /// Appends a row in one write, so that readers see whole lines.
    pub fn append(&mut self, row: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_string(row).map_err(|e| Error::file(&self.path, e.to_string()))?;
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(Error::io(&self.path))
    }
}

/// The whole rows of steps up to `step`, and those about attempts.
fn rows_up_to(log: &[u8], step: u64) -> Vec<u8> {
    let stays = |line: &&[u8]| {
        let row: Option<serde_json::Value> = serde_json::from_slice(line).ok();
        line.ends_with(b"\n")
            && row.is_some_and(|row| row["kind"] == "run" || row["step"].as_u64().is_some_and(|found| found <= step))
    };
    log.split_inclusive(|&byte| byte == b'\n').filter(stays).collect::<Vec<_>>().concat()
}

/// Reads the rows of the log in `run` for which `wanted` holds, in order; an absent log has none.
pub fn rows(run: &Path, wanted: impl Fn(&serde_json::Value) -> bool) -> Result<Vec<serde_json::Value>> {
    let path = run.join(METRICS);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn steps(dir: &Path) -> Vec<u64> {
        rows(dir, |_| true).unwrap().iter().map(|row| row["step"].as_u64().unwrap()).collect()
    }

    #[test]
    fn reopening_drops_rows_beyond_the_step_and_a_torn_last_line() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = MetricsLog::open(dir.path(), None).unwrap();
        for step in [1, 2, 3] {
            log.append(&json!({"kind": "step", "step": step})).unwrap();
        }
        log.file.write_all(b"{\"step\":").unwrap();
        let mut log = MetricsLog::open(dir.path(), Some(2)).unwrap();
        log.append(&json!({"kind": "step", "step": 9})).unwrap();
        assert_eq!(steps(dir.path()), [1, 2, 9]);
    }

    #[test]
    fn rows_about_attempts_stay_when_a_run_is_resumed_and_go_when_it_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = MetricsLog::open(dir.path(), None).unwrap();
        for (kind, step) in [("run", 0), ("step", 5), ("run", 4), ("step", 5), ("event", 6)] {
            log.append(&json!({"kind": kind, "step": step})).unwrap();
        }
        MetricsLog::open(dir.path(), Some(2)).unwrap();
        assert_eq!(steps(dir.path()), [0, 4]);
        MetricsLog::open(dir.path(), None).unwrap();
        assert_eq!(steps(dir.path()), [0; 0]);
    }

    #[test]
    fn a_row_is_one_line() {
        let dir = tempfile::tempdir().unwrap();
        MetricsLog::open(dir.path(), None).unwrap().append(&json!({"step": 1, "loss": 0.5})).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join(METRICS)).unwrap(), "{\"loss\":0.5,\"step\":1}\n");
    }
}
