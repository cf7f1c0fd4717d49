//! The questions of a squad dataset, to check its windows against.

use std::collections::HashMap;
use std::path::Path;

use cloze_formats::SquadRow;
use cloze_formats::row::Row;
use cloze_formats::shard::Shard;

use super::report::NAMED_PER_SHARD;
use crate::inspect::examples::each;
use crate::{Error, Result};

/// What the lines of `examples.jsonl` say of their questions, by id.
pub(super) struct Questions {
    by_id: HashMap<String, Question>,
}

struct Question {
    number: u64,
    context_chars: u32,
    is_impossible: bool,
}

/// What stands before a row.
#[derive(Clone, Copy)]
enum Before<'a> {
    Start,
    /// Damaged; reported elsewhere.
    Unreadable,
    /// Its question and number.
    Window(&'a str, u16),
}

impl Questions {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It cannot be read, a line is not a question, or an id comes twice.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let mut by_id = HashMap::new();
        let mut repeated = None;
        each(path, |number, example| {
            let context_chars = example.context.chars().count() as u32;
            let question = Question { number, context_chars, is_impossible: example.is_impossible };
            if by_id.insert(example.id.clone(), question).is_some() {
                repeated.get_or_insert((number + 1, example.id));
            }
        })?;
        match repeated {
            Some((line, id)) => Err(Error::invalid(path, format!("line {line}: question {id:?} comes twice"))),
            None => Ok(Self { by_id }),
        }
    }

    /// Checks a window against its question; its structure was checked before.
    pub(super) fn check(&self, row: &SquadRow<'_>) -> Result<(), String> {
        let id = row.example_id;
        let question = self.by_id.get(id).ok_or_else(|| format!("example_id {id:?} is not in examples.jsonl"))?;
        if row.is_impossible != question.is_impossible {
            let (expected, found) = (question.is_impossible, row.is_impossible);
            return Err(format!("expected is_impossible {expected} as in examples.jsonl, found {found}"));
        }
        if row.is_impossible && row.end_position > 0 {
            return Err(format!("expected no answer of an impossible question, found one at {}", row.start_position));
        }
        let (starts, ends) = (row.context_starts, row.context_ends);
        let descends = |offsets: &[u32]| offsets.windows(2).position(|pair| pair[0] > pair[1]).map(|at| at + 1);
        if let Some(at) = descends(starts).or_else(|| descends(ends)) {
            return Err(format!("expected ascending character offsets, found a smaller one at context token {at}"));
        }
        if let Some(at) = starts.iter().zip(ends).position(|(start, end)| start >= end) {
            return Err(format!("expected context_ends above context_starts, found {} to {}", starts[at], ends[at]));
        }
        if let Some(&end) = ends.last().filter(|&&end| end > question.context_chars) {
            return Err(format!(
                "expected offsets within {} characters of context, found {end}",
                question.context_chars
            ));
        }
        match row.max_context.iter().find(|&&flag| flag > 1) {
            Some(flag) => Err(format!("expected max_context flags of 0 and 1, found {flag}")),
            None => Ok(()),
        }
    }

    /// Windows of a question are numbered from 0 without a gap, and questions stand in the order of the file.
    ///
    /// Returns (shard, row, problem) for the first few rows where that is not so; rows that cannot be read are passed over.
    pub(super) fn check_order(&self, shards: &[Result<Shard>]) -> Vec<(usize, u64, String)> {
        let mut problems = Vec::new();
        let mut before = Before::Start;
        let open = shards.iter().enumerate().filter_map(|(i, shard)| Some((i, shard.as_ref().ok()?)));
        for (i, shard) in open {
            for index in 0..shard.num_rows() {
                let Ok(Row::Squad(row)) = shard.row(index) else {
                    before = Before::Unreadable;
                    continue;
                };
                if let Err(problem) = self.follows(before, &row)
                    && problems.len() < NAMED_PER_SHARD
                {
                    problems.push((i, index, problem));
                }
                before = Before::Window(row.example_id, row.window);
            }
        }
        problems
    }

    fn follows(&self, before: Before<'_>, row: &SquadRow<'_>) -> Result<(), String> {
        let (id, window) = (row.example_id, row.window);
        let (last_id, last_window) = match before {
            Before::Start => ("", 0),
            Before::Unreadable => return Ok(()),
            Before::Window(id, window) => (id, window),
        };
        if last_id == id {
            let expected = u32::from(last_window) + 1;
            return if u32::from(window) == expected {
                Ok(())
            } else {
                Err(format!("expected window {expected} of question {id}, found window {window}"))
            };
        }
        let number = |id: &str| self.by_id.get(id).map(|question| question.number);
        if window != 0 {
            return Err(format!("expected window 0 of question {id}, found window {window}"));
        }
        match (number(last_id), number(id)) {
            (Some(last), Some(this)) if this <= last => {
                Err(format!("expected the order of examples.jsonl, found question {id} after {last_id}"))
            }
            _ => Ok(()),
        }
    }
}
