//! SQuAD's JSON, read and checked.

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

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

/// A question and its answers, at least one.
#[derive(Debug, Deserialize)]
pub(super) struct QuestionAnswers {
    pub(super) id: String,
    pub(super) question: String,
    #[serde(default)]
    pub(super) answers: Vec<Answer>,
    is_impossible: Option<bool>,
}

/// An answer and where it stands in the context.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Answer {
    text: String,
    /// In Unicode scalar values.
    answer_start: u64,
}

impl QuestionAnswers {
    /// First and one past the last character of the first answer.
    pub(super) fn first_answer(&self) -> (u32, u32) {
        let answer = &self.answers[0];
        let start = answer.answer_start as u32;
        (start, start + answer.text.chars().count() as u32)
    }
}

/// Reads all paragraphs of `path`; every answer stands where it says, every question has one and an id of its own.
pub(super) fn read(path: &Path) -> Result<Vec<Paragraph>> {
    let bytes = std::fs::read(path).at(path)?;
    let file: SquadFile = serde_json::from_slice(&bytes)
        .map_err(|e| Error::invalid(path, format!("expected SQuAD's JSON, found: {e}")))?;
    let paragraphs: Vec<Paragraph> = file.data.into_iter().flat_map(|article| article.paragraphs).collect();
    let mut ids = HashSet::new();
    for paragraph in &paragraphs {
        let context: Vec<char> = paragraph.context.chars().collect();
        for question in &paragraph.qas {
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
    Ok(paragraphs)
}

fn check(question: &QuestionAnswers, context: &[char]) -> Result<(), String> {
    if question.is_impossible.is_some() {
        return Err("this is SQuAD v2.0 (it has is_impossible), which is not supported yet; give a v1.1 file".into());
    }
    if question.answers.is_empty() {
        return Err("expected at least one answer, found none".into());
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
