//! The questions of a squad dataset, to check its windows against.

use std::collections::HashMap;
use std::path::Path;

use cloze_formats::SquadRow;
use cloze_formats::row::Row;
use cloze_formats::shard::Shard;
use unicode_categories::UnicodeCategories;

use super::report::NAMED_PER_SHARD;
use crate::inspect::examples::each;
use crate::{Error, Result};

/// What the lines of `examples.jsonl` say of their questions, by id.
pub(crate) struct Questions {
    by_id: HashMap<String, Question>,
}

struct Question {
    number: u64,
    context_chars: u32,
    /// One past the last character that is sure to be in a token; 0 if there is none.
    text_end: u32,
    is_impossible: bool,
}

/// What is wrong with windows as a whole.
#[derive(Default)]
pub(crate) struct OrderReport {
    /// Shard, row and problem, the first few.
    pub(crate) rows: Vec<(usize, u64, String)>,
    /// Questions without any window.
    pub(crate) unasked: Option<String>,
}

/// What stands before a row.
#[derive(Clone, Copy)]
enum Before<'a> {
    Start,
    /// Damaged; reported elsewhere.
    Unreadable,
    Window(SquadRow<'a>),
}

impl Questions {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It cannot be read, a line is not a question, or an id comes twice.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let mut by_id = HashMap::new();
        let mut repeated = None;
        each(path, |number, example| {
            let context_chars = example.context.chars().count() as u32;
            let text_end = text_end(&example.context);
            let question = Question { number, context_chars, text_end, is_impossible: example.is_impossible };
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
    pub(crate) fn check(&self, row: &SquadRow<'_>) -> Result<(), String> {
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

    /// Each question has windows, they are numbered from 0 without a gap and go on to the end of its context, and questions
    /// stand in the order of the file.
    ///
    /// How many windows a question has is not stored, but the last one holds the last token of the context.
    ///
    /// Rows that cannot be read are passed over; whether each question has windows is then not known.
    pub(crate) fn check_order(&self, shards: &[Result<Shard>]) -> OrderReport {
        let mut problems = Vec::new();
        let mut before = Before::Start;
        let mut place = (0, 0);
        let mut asked = vec![false; self.by_id.len()];
        let mut all_read = true;
        let mut note = |(shard, row), checked: Result<(), String>| match checked {
            Err(problem) if problems.len() < NAMED_PER_SHARD => problems.push((shard, row, problem)),
            _ => {}
        };
        for (i, shard) in shards.iter().enumerate() {
            let Ok(shard) = shard else {
                (before, all_read) = (Before::Unreadable, false);
                continue;
            };
            for index in 0..shard.num_rows() {
                let Ok(Row::Squad(row)) = shard.row(index) else {
                    (before, all_read) = (Before::Unreadable, false);
                    continue;
                };
                if let Some(question) = self.by_id.get(row.example_id) {
                    asked[question.number as usize] = true;
                }
                if let Before::Window(last) = before
                    && last.example_id != row.example_id
                {
                    note(place, self.is_last(&last));
                }
                note((i, index), self.follows(before, &row));
                before = Before::Window(row);
                place = (i, index);
            }
        }
        if let Before::Window(last) = before {
            note(place, self.is_last(&last));
        }
        OrderReport { rows: problems, unasked: if all_read { self.unasked(&asked) } else { None } }
    }

    /// Names the first question that has no window and counts the others.
    fn unasked(&self, asked: &[bool]) -> Option<String> {
        let unasked = || self.by_id.iter().filter(|(_, question)| !asked[question.number as usize]);
        let (first, _) = unasked().min_by_key(|(_, question)| question.number)?;
        let more = match unasked().count() - 1 {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        Some(format!("expected windows of every question, found none of question {first}{more}; rebuild the dataset"))
    }

    /// The last window there is of a question must reach the end of the context's text.
    fn is_last(&self, row: &SquadRow<'_>) -> Result<(), String> {
        let Some(question) = self.by_id.get(row.example_id) else { return Ok(()) };
        let end = row.context_ends.last().copied().unwrap_or(0);
        if end >= question.text_end {
            return Ok(());
        }
        Err(format!(
            "expected more windows of question {} after window {}, which ends at character {end} of a context whose text \
             goes on to {}; rebuild the dataset",
            row.example_id, row.window, question.text_end
        ))
    }

    fn follows(&self, before: Before<'_>, row: &SquadRow<'_>) -> Result<(), String> {
        let (id, window) = (row.example_id, row.window);
        let (last_id, last_window) = match before {
            Before::Start => ("", 0),
            Before::Unreadable => return Ok(()),
            Before::Window(row) => (row.example_id, row.window),
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

/// One past the last character of `context` that every tokenizer keeps: a letter, or an ASCII digit or mark.
fn text_end(context: &str) -> u32 {
    let is_kept = |c: char| c.is_ascii_graphic() || c.is_letter();
    let last = context.chars().enumerate().filter(|&(_, c)| is_kept(c)).last();
    last.map_or(0, |(at, _)| at as u32 + 1)
}
