//! What `verify` found, for people and for scripts.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

use crate::inspect::numbers::{bytes, counted, plural, thousands};

/// Damaged rows named per shard; the others are counted.
pub(super) const NAMED_PER_SHARD: usize = 5;

/// What `verify` found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Directory as given.
    pub dataset: String,
    /// Rows read.
    pub rows: u64,
    /// Shards of the dataset.
    pub num_shards: usize,
    /// Bytes of the shards.
    pub bytes: u64,
    /// Seconds it took.
    pub seconds: f64,
    /// All problems, those that are not named included.
    pub num_problems: u64,
    /// The problems, the first few of each shard; empty where all is well.
    pub damage: Vec<Damage>,
    /// The held-out part, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out: Option<Box<Report>>,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The file concerned.
    pub file: String,
    /// Row within the shard, where it is a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// The same row counted over all shards, as `show --rows` takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset_row: Option<u64>,
    /// What was expected and found.
    pub problem: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        match (self.row, self.dataset_row) {
            (Some(row), Some(of_all)) if row != of_all => write!(f, "row {row} ({of_all} of the dataset): ")?,
            (Some(row), _) => write!(f, "row {row}: ")?,
            _ => {}
        }
        f.write_str(&self.problem)
    }
}

impl Report {
    /// Whether nothing is wrong, in the held-out part either.
    pub fn is_whole(&self) -> bool {
        self.num_problems == 0 && self.held_out.as_ref().is_none_or(|part| part.is_whole())
    }

    /// Adds a problem of a file as a whole; `error` begins with the file's path.
    pub(super) fn push(&mut self, error: &crate::Error) {
        self.push_problem(error.path().display().to_string(), error.kind().to_string());
    }

    /// Adds a problem of `file` as a whole.
    pub(super) fn push_problem(&mut self, file: String, problem: String) {
        self.damage.push(Damage { file, row: None, dataset_row: None, problem });
        self.num_problems += 1;
    }

    /// Writes a line for each problem, and the verdict.
    pub fn render(&self, out: &mut dyn Write) -> io::Result<()> {
        for damage in &self.damage {
            writeln!(out, "damaged: {damage}")?;
        }
        let unnamed = self.num_problems - self.damage.len() as u64;
        if unnamed > 0 {
            writeln!(out, "and {} more", counted(unnamed, "damaged row"))?;
        }
        let verdict = match self.num_problems {
            0 => {
                let (rows, shards) = (counted(self.rows, "row"), counted(self.num_shards as u64, "shard"));
                let rate = self.bytes as f64 / 1e6 / self.seconds.max(1e-9);
                format!("whole: {rows} in {shards}, {}, {} MB/s", bytes(self.bytes), thousands(rate as u64))
            }
            n => format!("{} {}", thousands(n), plural(n, "problem")),
        };
        writeln!(out, "{}: {verdict}", self.dataset)?;
        self.held_out.as_ref().map_or(Ok(()), |part| part.render(out))
    }
}
