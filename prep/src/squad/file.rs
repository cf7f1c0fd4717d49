//! SQuAD's JSON, read and checked.

use std::collections::HashSet;
use std::path::Path;

use cloze_formats::finetune::SquadVersion;
use serde::{Deserialize, Serialize};
use unicode_categories::UnicodeCategories;

use crate::error::AtPath;
use crate::{Error, Result};

#[derive(Debug, Deserialize)]
struct SquadFile {
    data: Vec<Article>,
}

#[derive(Debug, Deserialize)]
struct Article {
    paragraphs: Vec<Paragraph>,
}

/// A context and the questions about it.
#[derive(Debug, Deserialize)]
pub(super) struct Paragraph {
    pub(super) context: String,
    pub(super) qas: Vec<QuestionAnswers>,
}

/// A question and its answers, at least one unless it is impossible.
#[derive(Debug, Deserialize)]
pub(super) struct QuestionAnswers {
    pub(super) id: String,
    pub(super) question: String,
    #[serde(default)]
    pub(super) answers: Vec<Answer>,
    /// Only v2.0 has it.
    is_impossible: Option<bool>,
}

/// What a file holds.
pub(super) struct SquadData {
    pub(super) version: SquadVersion,
    pub(super) paragraphs: Vec<Paragraph>,
}

/// An answer and where it stands in the context.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Answer {
    text: String,
    /// In Unicode scalar values.
    answer_start: u64,
}

impl QuestionAnswers {
    /// Whether the context has no answer.
    pub(super) fn is_impossible(&self) -> bool {
        self.is_impossible.unwrap_or(false)
    }

    /// First and one past the last character of the first answer; `None` where there is none.
    pub(super) fn first_answer(&self) -> Option<(u32, u32)> {
        let answer = self.answers.first()?;
        let start = answer.answer_start as u32;
        Some((start, start + answer.text.chars().count() as u32))
    }
}

/// Reads all paragraphs of `path`; every answer stands where it says, every question has text and an id of its own, and an
/// answer unless it says that it is impossible. A file in which a question says so or denies it is v2.0.
pub(super) fn read(path: &Path) -> Result<SquadData> {
    let bytes = std::fs::read(path).at(path)?;
    let json = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let file: SquadFile =
        serde_json::from_slice(json).map_err(|e| Error::invalid(path, format!("expected SQuAD's JSON, found: {e}")))?;
    let paragraphs: Vec<Paragraph> = file.data.into_iter().flat_map(|article| article.paragraphs).collect();
    let mut ids = HashSet::new();
    let mut version = SquadVersion::V1;
    for paragraph in &paragraphs {
        let context: Vec<char> = paragraph.context.chars().collect();
        for question in &paragraph.qas {
            if question.is_impossible.is_some() {
                version = SquadVersion::V2;
            }
            let problem = check(question, &context).err();
            let problem = problem.or_else(|| (!ids.insert(&question.id)).then(|| "this id occurs twice".to_owned()));
            if let Some(problem) = problem {
                return Err(Error::invalid(path, format!("question {}: {problem}", question.id)));
            }
        }
    }
    if ids.is_empty() {
        return Err(Error::invalid(path, "expected questions, found none"));
    }
    Ok(SquadData { version, paragraphs })
}

/// Whether a character can become a token: what is left when white space and the invisible are gone.
fn is_text(char: char) -> bool {
    char != char::REPLACEMENT_CHARACTER && !char.is_whitespace() && !char.is_other() && !char.is_mark_nonspacing()
}

fn check(question: &QuestionAnswers, context: &[char]) -> Result<(), String> {
    if !question.question.chars().any(is_text) {
        return Err("expected a question, found no text".into());
    }
    if !context.iter().copied().any(is_text) {
        return Err("expected a context, found no text".into());
    }
    match (question.is_impossible(), question.answers.len()) {
        (false, 0) => return Err("expected at least one answer, found none".into()),
        (true, found @ 1..) => {
            return Err(format!("expected no answers where is_impossible is true, found {found}"));
        }
        _ => {}
    }
    for answer in &question.answers {
        let num_chars = answer.text.chars().count();
        if num_chars == 0 {
            return Err("expected an answer with text, found an empty one".into());
        }
        let start = usize::try_from(answer.answer_start).unwrap_or(usize::MAX).min(context.len());
        let found = &context[start..start.saturating_add(num_chars).min(context.len())];
        if !answer.text.chars().eq(found.iter().copied()) {
            let found: String = found.iter().collect();
            let (expected, start) = (&answer.text, answer.answer_start);
            return Err(format!("expected the answer {expected:?} at answer_start {start}, found {found:?} there"));
        }
    }
    Ok(())
}
