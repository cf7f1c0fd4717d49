//! Ids back to text for people to read.

use cloze_formats::vocabulary::Vocabulary;

use super::CONTINUATION;

/// Tokens joined by spaces, `##` pieces glued to the one before: `[CLS] the cat ##s` reads `[CLS] the cats`.
///
/// An id outside the vocabulary is shown as `[id 99999]`. What normalisation took away does not come back.
pub fn decode(vocabulary: &Vocabulary, ids: &[u32]) -> String {
    let mut text = String::new();
    for &id in ids {
        match vocabulary.token(id) {
            Some(token) => push_token(&mut text, token),
            None => push_token(&mut text, &format!("[id {id}]")),
        }
    }
    text
}

fn push_token(text: &mut String, token: &str) {
    match token.strip_prefix(CONTINUATION).filter(|rest| !rest.is_empty()) {
        Some(rest) => text.push_str(rest),
        None => {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(token);
        }
    }
}
