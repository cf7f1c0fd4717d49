//! How a command ended: a table for people, summary.json for programs.

use std::io::Write;
use std::path::Path;

use cloze_formats::durable;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::progress::duration;
use crate::trainer::Outcome;

/// Name of the file in the output directory.
pub const SUMMARY: &str = "summary.json";

/// What a command did, in order; values carry their unit in the label.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    lines: Vec<(String, String)>,
    values: Map<String, Value>,
    /// What to print for people instead of the table.
    text: Option<String>,
    /// The signal that stopped the run before its end.
    pub stopped_by: Option<i32>,
}

impl Summary {
    /// What a process that does not write has to say: how it ended.
    pub fn of_another(outcome: &Outcome) -> Self {
        Self { stopped_by: outcome.stopped_by, ..Self::default() }
    }

    /// Adds a fact: `key` and `value` for programs, `text` for people.
    pub fn add(&mut self, key: &str, value: impl Into<Value>, text: impl Into<String>) {
        self.values.insert(key.to_owned(), value.into());
        self.lines.push((key.replace('_', " "), text.into()));
    }

    /// A text, under `key` for programs.
    pub fn of_text(key: &str, text: impl Into<String>) -> Self {
        let text = text.into();
        let values = Map::from_iter([(key.to_owned(), text.clone().into())]);
        Self { values, text: Some(text), ..Self::default() }
    }

    /// Adds a fact that only programs read.
    pub fn add_value(&mut self, key: &str, value: impl Into<Value>) {
        self.values.insert(key.to_owned(), value.into());
    }

    /// Adds how a run ended and where it lies.
    pub fn add_end(&mut self, run: &Path, outcome: &Outcome) {
        let seconds = outcome.position.seconds;
        self.add("seconds", seconds, duration(seconds));
        self.add("run", run.display().to_string(), run.display().to_string());
        let report = format!("cloze-train report {}", run.display());
        self.lines.push(("curves".to_owned(), report));
        self.add("checkpoint", outcome.checkpoint.display().to_string(), outcome.checkpoint.display().to_string());
        self.stopped_by = outcome.stopped_by;
        self.values.insert("stopped_by_signal".to_owned(), outcome.stopped_by.into());
    }

    /// The newest checkpoint, as far as the command made one.
    pub fn checkpoint(&self) -> Option<&str> {
        self.values.get("checkpoint")?.as_str()
    }

    /// Publishes summary.json in `dir`.
    pub fn write(&self, dir: &Path) -> Result<()> {
        write_json(&dir.join(SUMMARY), &self.values)
    }

    /// The table for people, or one JSON object.
    pub fn print(&self, out: &mut dyn Write, json: bool) -> std::io::Result<()> {
        if self.values.is_empty() {
            return Ok(());
        }
        if json {
            return writeln!(out, "{}", serde_json::to_string(&self.values)?);
        }
        if let Some(text) = &self.text {
            return write!(out, "{text}");
        }
        let width = self.lines.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
        for (label, text) in &self.lines {
            writeln!(out, "{label:width$}  {text}")?;
        }
        Ok(())
    }
}

/// Publishes `value` at `path`, indented.
pub fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::file(path, e.to_string()))? + "\n";
    Ok(durable::write(path, text.as_bytes())?)
}

/// `first -> last` of the mean `key` in rows of the log, as far as there are any.
pub fn first_to_last(rows: &[Value], key: &str) -> Option<String> {
    let (first, last) = (rows.first()?[key].as_f64()?, rows.last()?[key].as_f64()?);
    Some(format!("{first:.4} -> {last:.4}"))
}
