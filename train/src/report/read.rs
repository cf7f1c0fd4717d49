//! A run's log as the report needs it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result};
use crate::log::METRICS;

/// Values by step.
pub(super) type Series = Vec<(f64, f64)>;

/// A run, read whole.
#[derive(Debug)]
pub(super) struct Run {
    /// What it goes by in the report.
    pub name: String,
    pub dir: PathBuf,
    /// One row per attempt; runs of older versions have none.
    pub attempts: Vec<Value>,
    pub steps: Vec<Value>,
    /// Scores on held-out data.
    pub measurements: Vec<Value>,
    pub events: Vec<Value>,
}

impl Run {
    /// Reads the run in `dir`. A last line without an end is being written, or was when the run was killed; it does not count.
    ///
    /// # Errors
    /// There is no log, nothing in it, or a line that is no row.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(METRICS);
        if !path.is_file() {
            let message = format!("expected a run directory, found no {METRICS} in it; give the --out of a run");
            return Err(Error::file(dir, message));
        }
        let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let mut run = Self {
            name: String::new(),
            dir: dir.to_owned(),
            attempts: Vec::new(),
            steps: Vec::new(),
            measurements: Vec::new(),
            events: Vec::new(),
        };
        for (index, line) in bytes[..whole].split(|&byte| byte == b'\n').enumerate() {
            if !line.is_empty() {
                run.add(line).map_err(|found| damaged(&path, index + 1, &found))?;
            }
        }
        if run.steps.is_empty() && run.measurements.is_empty() {
            return Err(Error::file(
                path,
                "expected at least one row about a step, found none; let the run go on first",
            ));
        }
        Ok(run)
    }

    /// Adds a row; the error is what was found instead.
    fn add(&mut self, line: &[u8]) -> std::result::Result<(), String> {
        let row: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let Some(kind) = row["kind"].as_str().filter(|_| row["step"].is_u64()) else {
            return Err("a line without them".to_owned());
        };
        match kind {
            "run" => self.attempts.push(row),
            "step" => self.steps.push(row),
            "held_out" | "evaluation" => self.measurements.push(row),
            "event" => self.events.push(row),
            // A later version may say more.
            _ => {}
        }
        Ok(())
    }

    /// A value of the newest attempt, by its path of keys.
    pub fn fact(&self, pointer: &str) -> Option<&Value> {
        self.attempts.last()?.pointer(pointer).filter(|value| !value.is_null())
    }

    /// `key` of all rows about steps.
    pub fn trained(&self, key: &str) -> Series {
        series(&self.steps, key)
    }

    /// `key` of all rows about held-out data.
    pub fn measured(&self, key: &str) -> Series {
        series(&self.measurements, key)
    }

    /// The newest step.
    pub fn last_step(&self) -> u64 {
        let rows = self.steps.iter().chain(&self.measurements);
        rows.filter_map(|row| row["step"].as_u64()).max().unwrap_or(0)
    }

    /// Steps after which it was resumed, with what there is to say, and what else happened, in order.
    pub fn happenings(&self) -> Vec<Happening> {
        let resumed = self.attempts.iter().skip(1).map(|row| Happening {
            step: row["step"].as_u64().unwrap_or(0),
            time: row["time"].as_f64(),
            kind: "resumed".to_owned(),
            message: format!(
                "on {}, {}",
                row.pointer("/machine/host").and_then(Value::as_str).unwrap_or("an unknown machine"),
                row.pointer("/machine/device").and_then(Value::as_str).unwrap_or("an unknown device")
            ),
        });
        let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let events = self.events.iter().map(|row| Happening {
            step: row["step"].as_u64().unwrap_or(0),
            time: row["time"].as_f64(),
            kind: text(row, "event"),
            message: text(row, "message"),
        });
        let mut all: Vec<Happening> = resumed.chain(events).collect();
        // A signal at a step comes before the resumption after it.
        all.sort_by(|a, b| a.step.cmp(&b.step).then(a.time.unwrap_or(0.0).total_cmp(&b.time.unwrap_or(0.0))));
        all
    }
}

/// Something that happened to a run.
#[derive(Clone, Debug)]
pub(super) struct Happening {
    pub step: u64,
    /// Seconds since 1970.
    pub time: Option<f64>,
    /// `resumed`, `skipped`, `signal` or the like.
    pub kind: String,
    pub message: String,
}

fn series(rows: &[Value], key: &str) -> Series {
    rows.iter().filter_map(|row| Some((row["step"].as_f64()?, row[key].as_f64()?))).collect()
}

fn damaged(path: &Path, line: usize, found: &str) -> Error {
    let message =
        format!("line {line}: expected a JSON object with kind and step, found {found}; restore or remove the line");
    Error::file(path, message)
}

/// Names for runs: the last parts of their paths, as many as tell them apart.
pub(super) fn name(runs: &mut [Run]) {
    let paths: Vec<PathBuf> = runs.iter().map(|run| run.dir.canonicalize().unwrap_or(run.dir.clone())).collect();
    let tail = |path: &Path, len: usize| -> String {
        let parts: Vec<_> = path.components().rev().take(len).map(|c| c.as_os_str().to_string_lossy()).collect();
        parts.into_iter().rev().collect::<Vec<_>>().join("/")
    };
    for (index, run) in runs.iter_mut().enumerate() {
        let is_unique = |len: &usize| {
            let mine = tail(&paths[index], *len);
            paths.iter().enumerate().all(|(other, path)| other == index || tail(path, *len) != mine)
        };
        let longest = paths[index].components().count();
        run.name = tail(&paths[index], (1..longest).find(is_unique).unwrap_or(longest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> (tempfile::TempDir, Result<Run>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(METRICS), text).unwrap();
        let run = Run::read(dir.path());
        (dir, run)
    }

    #[test]
    fn rows_are_sorted_by_kind_and_a_torn_last_line_does_not_count() {
        let (_dir, run) = run(concat!(
            "{\"kind\":\"run\",\"step\":0}\n{\"kind\":\"step\",\"step\":1,\"loss\":2.5}\n",
            "{\"kind\":\"event\",\"step\":1,\"event\":\"signal\",\"message\":\"m\",\"time\":5}\n",
            "{\"kind\":\"run\",\"step\":1,\"time\":6}\n{\"kind\":\"held_out\",\"step\":2,\"loss\":3}\n{\"ki"
        ));
        let run = run.unwrap();
        assert_eq!(
            (run.trained("loss"), run.measured("loss"), run.last_step()),
            (vec![(1.0, 2.5)], vec![(2.0, 3.0)], 2)
        );
        let kinds: Vec<String> = run.happenings().into_iter().map(|happening| happening.kind).collect();
        assert_eq!(kinds, ["signal", "resumed"]);
    }

    #[test]
    fn what_is_no_log_is_told_in_one_line() {
        let (dir, damaged) = run("{\"kind\":\"step\",\"step\":1}\nnonsense\n{\"kind\":\"step\",\"step\":2}\n");
        let path = dir.path().join(METRICS);
        assert_eq!(
            damaged.unwrap_err().to_string(),
            format!(
                "{}: line 2: expected a JSON object with kind and step, found expected ident at line 1 column 2; restore or \
                 remove the line",
                path.display()
            )
        );
        let (dir, empty) = run("");
        assert_eq!(
            empty.unwrap_err().to_string(),
            format!(
                "{}: expected at least one row about a step, found none; let the run go on first",
                dir.path().join(METRICS).display()
            )
        );
        let nowhere = Path::new("/nonexistent/run");
        assert_eq!(
            Run::read(nowhere).unwrap_err().to_string(),
            "/nonexistent/run: expected a run directory, found no metrics.jsonl in it; give the --out of a run"
        );
    }

    #[test]
    fn names_are_as_long_as_they_must_be() {
        let make = |dir: &str| Run {
            name: String::new(),
            dir: PathBuf::from(dir),
            attempts: Vec::new(),
            steps: Vec::new(),
            measurements: Vec::new(),
            events: Vec::new(),
        };
        let mut runs = ["/x/a/p1", "/x/b/p1", "/x/b/p2"].map(make);
        name(&mut runs);
        assert_eq!(runs.map(|run| run.name), ["a/p1", "b/p1", "p2"]);
    }
}
