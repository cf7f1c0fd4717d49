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

/// The checkpoint that a run goes on from.
#[derive(Clone, Copy, Debug)]
pub struct Resumed {
    /// Its step.
    pub after: u64,
    /// The step of the last measurement that it knows of; a later one will be made again.
    pub measured: Option<u64>,
}

impl MetricsLog {
    /// Opens the log in the directory `run`. Of a run that is `resumed`, rows up to the checkpoint's step and the rows about
    /// attempts stay: the rest will be computed, and logged, again. Otherwise what is there is of a run that left no
    /// checkpoint, and goes.
    pub fn open(run: &Path, resumed: Option<Resumed>) -> Result<Self> {
        let path = run.join(METRICS);
        let old = match std::fs::read(&path) {
            Ok(old) => old,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::io(&path)(error)),
        };
        let kept: Vec<u8> = resumed.map_or_else(Vec::new, |resumed| rows_up_to(&old, resumed));
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

/// The whole rows that the checkpoint knows of, and those about attempts.
fn rows_up_to(log: &[u8], resumed: Resumed) -> Vec<u8> {
    let known = |row: &serde_json::Value| {
        let is_measurement = row["kind"] == "held_out" || row["kind"] == "evaluation";
        let last = if is_measurement { resumed.measured.unwrap_or(0) } else { resumed.after };
        row["kind"] == "run" || row["step"].as_u64().is_some_and(|found| found <= last)
    };
    let stays = |line: &&[u8]| line.ends_with(b"\n") && serde_json::from_slice(line).is_ok_and(|row| known(&row));
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

    fn after(step: u64) -> Option<Resumed> {
        Some(Resumed { after: step, measured: Some(step) })
    }

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
        let mut log = MetricsLog::open(dir.path(), after(2)).unwrap();
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
        MetricsLog::open(dir.path(), after(2)).unwrap();
        assert_eq!(steps(dir.path()), [0, 4]);
        MetricsLog::open(dir.path(), None).unwrap();
        assert_eq!(steps(dir.path()), [0; 0]);
    }

    #[test]
    fn a_measurement_that_the_checkpoint_does_not_know_of_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = MetricsLog::open(dir.path(), None).unwrap();
        for (kind, step) in [("step", 10), ("held_out", 10), ("step", 20), ("held_out", 20)] {
            log.append(&json!({"kind": kind, "step": step})).unwrap();
        }
        MetricsLog::open(dir.path(), Some(Resumed { after: 20, measured: Some(10) })).unwrap();
        let kept = rows(dir.path(), |_| true).unwrap();
        assert_eq!(kept.len(), 3);
        assert_eq!(kept[2], json!({"kind": "step", "step": 20}));
    }

    #[test]
    fn a_row_is_one_line() {
        let dir = tempfile::tempdir().unwrap();
        MetricsLog::open(dir.path(), None).unwrap().append(&json!({"step": 1, "loss": 0.5})).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join(METRICS)).unwrap(), "{\"loss\":0.5,\"step\":1}\n");
    }
}
