//! GLUE's tab-separated files, read and checked.

use std::collections::HashSet;
use std::path::Path;

use cloze_formats::Label;

use super::tasks::{DEV_IDS, File, Labels, Rows, Skipped, Task};
use crate::error::AtPath;
use crate::{Error, Result};

/// An example before tokenization.
#[derive(Debug)]
pub(super) struct Example {
    pub(super) a: String,
    pub(super) b: Option<String>,
    pub(super) label: Option<Label>,
    /// Row of the file, from 0, header not counted.
    pub(super) row_id: u64,
}

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Examples {
    pub(super) rows: Vec<Example>,
    /// Rows left out because the task allows it.
    pub(super) skipped: u64,
}

/// Reads the rows of `file` in `dir` that the split is made of.
pub(super) fn read(task: &Task, file: &File, dir: &Path) -> Result<Examples> {
    let path = dir.join(file.name);
    let bytes = std::fs::read(&path).at(&path)?;
    let text = utf8(&path, &bytes)?;
    let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).zip(1u64..).peekable();
    let columns: Vec<&str> = match file.without_header {
        Some(columns) => columns.to_vec(),
        None => lines.next().map_or("", |(line, _)| line).split('\t').collect(),
    };
    let at = |line: u64, problem: String| Error::invalid(&path, format!("line {line}: {problem}"));
    let parser = Parser::new(task, file, columns).map_err(|problem| at(1, problem))?;
    let listed = Listed::read(file.rows, dir)?;
    let mut examples = Examples::default();
    let mut row_id = 0;
    while let Some((line, number)) = lines.next() {
        if line.is_empty() && lines.peek().is_none() {
            break;
        }
        let fields: Vec<&str> = line.split('\t').collect();
        match parser.parse(&fields, row_id).map_err(|problem| at(number, problem))? {
            None => examples.skipped += 1,
            Some(example) if listed.takes(&parser, &fields) => examples.rows.push(example),
            Some(_) => {}
        }
        row_id += 1;
    }
    if examples.rows.is_empty() {
        return Err(Error::invalid(&path, "expected examples, found none"));
    }
    Ok(examples)
}

/// The text without a byte order mark.
fn utf8<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let line = bytes[..e.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
        Error::invalid(path, format!("line {line}: expected UTF-8 text, found other bytes"))
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Where the columns of a file are. Errors say what was expected and found.
struct Parser<'a> {
    task: &'a Task,
    columns: Vec<&'a str>,
    sentences: Vec<usize>,
    label: Option<usize>,
    index: Option<usize>,
}

impl<'a> Parser<'a> {
    fn new(task: &'a Task, file: &File, columns: Vec<&'a str>) -> Result<Self, String> {
        let needed: Vec<&str> = file.sentences.iter().copied().chain(file.label).chain(file.index).collect();
        let find = |name: &str| {
            let mut places = columns.iter().enumerate().filter(|(_, column)| **column == name).map(|(place, _)| place);
            let place = places.next().filter(|_| places.next().is_none());
            place.ok_or_else(|| {
                let found = columns.join("\t");
                format!("expected a header with the columns {}, found {found:?}", needed.join(", "))
            })
        };
        let sentences = file.sentences.iter().map(|name| find(name)).collect::<Result<_, _>>()?;
        let label = file.label.map(find).transpose()?;
        let index = file.index.map(find).transpose()?;
        Ok(Self { task, columns, sentences, label, index })
    }

    /// `None` for a row that the task's files may have, but no example can be made of.
    fn parse(&self, fields: &[&str], row_id: u64) -> Result<Option<Example>, String> {
        let (expected, found) = (self.columns.len(), fields.len());
        if found < expected && self.label.is_some() && self.task.skipped == Skipped::Broken {
            return Ok(None);
        }
        if found != expected {
            return Err(format!("expected {expected} columns ({}), found {found}", self.columns.join(", ")));
        }
        if let Some(index) = self.index
            && fields[index] != row_id.to_string()
        {
            // Predictions are told apart by the row, so the two must agree.
            return Err(format!("expected {} {row_id}, found {:?}", self.columns[index], fields[index]));
        }
        let label = match self.label.map(|label| fields[label]) {
            None => None,
            Some("") if self.task.skipped == Skipped::Broken => return Ok(None),
            Some(label) if matches!(self.task.skipped, Skipped::Label(none) if none == label) => return Ok(None),
            Some(label) => Some(parse_label(&self.task.labels, label)?),
        };
        let sentence = |number: usize| self.sentences.get(number).map(|&place| fields[place].to_owned());
        Ok(Some(Example { a: sentence(0).unwrap_or_default(), b: sentence(1), label, row_id }))
    }
}

fn parse_label(labels: &Labels, field: &str) -> Result<Label, String> {
    match labels {
        Labels::Classes(classes) => {
            let class = classes.iter().position(|(label, _)| *label == field);
            class.map(|class| Label::Class(class as i32)).ok_or_else(|| {
                let known: Vec<&str> = classes.iter().map(|(label, _)| *label).collect();
                format!("expected a label of {}, found {field:?}", known.join(", "))
            })
        }
        Labels::Score { min, max } => {
            let score = field.parse::<f32>().ok().filter(|score| (*min..=*max).contains(score));
            score.map(Label::Score).ok_or_else(|| format!("expected a score from {min} to {max}, found {field:?}"))
        }
    }
}

/// The pairs of ids that make up MRPC's development set.
enum Listed {
    /// No list: everything is taken.
    All,
    /// The list, and whether its rows are wanted or the others.
    Only(HashSet<(String, String)>, bool),
}

const ID_COLUMNS: [&str; 2] = ["#1 ID", "#2 ID"];

impl Listed {
    fn read(rows: Rows, dir: &Path) -> Result<Self> {
        let path = dir.join(DEV_IDS);
        if rows == Rows::All || (rows == Rows::NotListed && !path.exists()) {
            return Ok(Self::All);
        }
        let bytes = std::fs::read(&path).at(&path)?;
        let mut ids = HashSet::new();
        for (line, number) in utf8(&path, &bytes)?.lines().zip(1u64..) {
            let Some((first, second)) = line.split_once('\t').filter(|(_, second)| !second.contains('\t')) else {
                return Err(Error::invalid(&path, format!("line {number}: expected two ids, found {line:?}")));
            };
            ids.insert((first.to_owned(), second.trim_end().to_owned()));
        }
        Ok(Self::Only(ids, rows == Rows::Listed))
    }

    /// `fields` are those of a row that `parser` has taken.
    fn takes(&self, parser: &Parser<'_>, fields: &[&str]) -> bool {
        let Self::Only(ids, wanted) = self else { return true };
        let id = |name| parser.columns.iter().position(|column| *column == name).map_or("", |place| fields[place]);
        let [first, second] = ID_COLUMNS.map(id);
        ids.contains(&(first.to_owned(), second.to_owned())) == *wanted
    }
}
