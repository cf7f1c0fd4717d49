//! `examples.jsonl` of a squad dataset: contexts and gold answers of the questions whose windows are looked at.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};

use cloze_formats::dataset::EXAMPLES;
use cloze_formats::{Dataset, Kind, SquadRow};
use serde::Deserialize;

use crate::error::{AtPath, Error, Result};

/// Questions by id.
#[derive(Debug, Default)]
pub struct Examples {
    by_id: HashMap<String, Example>,
}

/// A line of the file, as far as it is shown.
#[derive(Debug, Deserialize)]
pub(super) struct Example {
    pub(super) id: String,
    pub(super) context: String,
    #[serde(default)]
    pub(super) answers: Vec<Answer>,
    #[serde(default)]
    pub(super) is_impossible: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    pub(super) text: String,
}

impl Examples {
    /// The questions `ids` of `dataset`; none for other kinds than squad.
    ///
    /// # Errors
    /// The file cannot be read, or a line of it is not a question.
    pub fn read(dataset: &Dataset, ids: &HashSet<String>) -> Result<Self> {
        let mut by_id = HashMap::new();
        if dataset.manifest().kind == Kind::Squad {
            each(&dataset.dir().join(EXAMPLES), |_, example| {
                if ids.contains(&example.id) {
                    by_id.insert(example.id.clone(), example);
                }
            })?;
        }
        Ok(Self { by_id })
    }

    /// The answer as the context has it, by the character offsets of its first and last token.
    pub(super) fn answer(&self, row: &SquadRow<'_>) -> Option<String> {
        let example = self.by_id.get(row.example_id)?;
        let token = |position: u16| usize::from(position).checked_sub(usize::from(row.segment_a_length));
        let start = *row.context_starts.get(token(row.start_position)?)? as usize;
        let end = *row.context_ends.get(token(row.end_position)?)? as usize;
        Some(example.context.chars().skip(start).take(end.checked_sub(start)?).collect())
    }

    /// The different gold answers of a question, in their order.
    pub(super) fn gold(&self, id: &str) -> Vec<&str> {
        let mut seen = HashSet::new();
        let answers = self.by_id.get(id).into_iter().flat_map(|example| &example.answers);
        answers.map(|answer| answer.text.as_str()).filter(|text| seen.insert(*text)).collect()
    }
}

/// Calls `take` with number and content of each line of the file at `path`.
pub(super) fn each(path: &std::path::Path, mut take: impl FnMut(u64, Example)) -> Result<()> {
    let lines = BufReader::with_capacity(1 << 18, File::open(path).at(path)?).lines();
    for (line, number) in lines.zip(0u64..) {
        let example = serde_json::from_str(&line.at(path)?).map_err(|e| {
            Error::invalid(path, format!("line {}: expected a question as JSON, found {e}", number + 1))
        })?;
        take(number, example);
    }
    Ok(())
}
