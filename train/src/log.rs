//! metrics.jsonl: one JSON object a line, appended as the run goes.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};

/// Name of the log in a run directory.
pub const METRICS: &str = "metrics.jsonl";

/// The growing log of a run. Rows carry `kind` (`step`, `held_out`, `evaluation`) and `step`.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
}

impl MetricsLog {
    /// Opens the log in the directory `run`, keeping the rows up to `step` of an earlier attempt: what came after the
    /// checkpoint that is resumed will be computed, and logged, again.
    ///
    /// Measurements are kept up to the step `measured`: one that the checkpoint does not know of will be made again.
    pub fn open(run: &Path, step: u64, measured: Option<u64>) -> Result<Self> {
        let path = run.join(METRICS);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(Error::io(&path))?;
        let kept = bytes_up_to(&file, step, measured.unwrap_or(0)).map_err(Error::io(&path))?;
        file.set_len(kept).and_then(|()| file.seek(std::io::SeekFrom::End(0))).map_err(Error::io(&path))?;
        Ok(Self { path, file })
    }

    /// Appends a row in one write, so that readers see whole lines.
    pub fn append(&mut self, row: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_string(row).map_err(|e| Error::file(&self.path, e.to_string()))?;
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(Error::io(&self.path))
    }
}

/// Length of the longest prefix of whole rows of steps up to `step`, of measurements up to `measured`.
fn bytes_up_to(file: &File, step: u64, measured: u64) -> std::io::Result<u64> {
    let (mut kept, mut line) = (0, Vec::new());
    let mut reader = BufReader::new(file);
    loop {
        line.clear();
        let len = reader.read_until(b'\n', &mut line)?;
        let row: Option<serde_json::Value> = serde_json::from_slice(&line).ok();
        let within = row.is_some_and(|row| {
            let is_measurement = row["kind"] == "held_out" || row["kind"] == "evaluation";
            row["step"].as_u64().is_some_and(|found| found <= if is_measurement { measured } else { step })
        });
        if !within || line.last() != Some(&b'\n') {
            return Ok(kept);
        }
        kept += len as u64;
    }
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

    #[test]
    fn reopening_drops_rows_beyond_the_step_and_a_torn_last_line() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = MetricsLog::open(dir.path(), 0, None).unwrap();
        for step in [1, 2, 3] {
            log.append(&json!({"kind": "step", "step": step})).unwrap();
        }
        log.file.write_all(b"{\"step\":").unwrap();
        let mut log = MetricsLog::open(dir.path(), 2, None).unwrap();
        log.append(&json!({"kind": "step", "step": 9})).unwrap();
        let steps: Vec<u64> =
            rows(dir.path(), |_| true).unwrap().iter().map(|row| row["step"].as_u64().unwrap()).collect();
        assert_eq!(steps, [1, 2, 9]);
    }

    #[test]
    fn a_measurement_that_the_checkpoint_does_not_know_of_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = MetricsLog::open(dir.path(), 0, None).unwrap();
        for (kind, step) in [("step", 10), ("held_out", 10), ("step", 20), ("held_out", 20)] {
            log.append(&json!({"kind": kind, "step": step})).unwrap();
        }
        MetricsLog::open(dir.path(), 20, Some(10)).unwrap();
        let kept = rows(dir.path(), |_| true).unwrap();
        assert_eq!(kept.len(), 3);
        assert_eq!(kept[2], json!({"kind": "step", "step": 20}));
    }

    #[test]
    fn a_row_is_one_line() {
        let dir = tempfile::tempdir().unwrap();
        MetricsLog::open(dir.path(), 0, None).unwrap().append(&json!({"step": 1, "loss": 0.5})).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join(METRICS)).unwrap(), "{\"loss\":0.5,\"step\":1}\n");
    }
}
