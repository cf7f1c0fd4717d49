//! From SQuAD's logits to an answer's text.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

/// How answers are searched; BERT's knobs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerConfig {
    /// Starts and ends tried per window, and answers kept per question. Default 20.
    pub n_best_size: usize,
    /// Longest answer, in tokens. Default 30.
    pub max_answer_length: usize,
    /// SQuAD v2.0: a question counts as impossible where the score of that exceeds the best answer's by more than this. Default 0.
    pub null_score_diff_threshold: f64,
}

impl Default for AnswerConfig {
    fn default() -> Self {
        Self { n_best_size: 20, max_answer_length: 30, null_score_diff_threshold: 0.0 }
    }
}

/// One window of a question with what the model said about it. All slices run over the window's context tokens, `[C]`.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// Which window of its example, counted from 0.
    pub number: u16,
    /// First character (Unicode scalar) of each token in the context.
    pub context_starts: &'a [u32],
    /// One past the last character of each token.
    pub context_ends: &'a [u32],
    /// 1 where this window gives the token more context than any other window.
    pub max_context: &'a [u8],
    /// Logit that the answer starts here.
    pub start_logits: &'a [f32],
    /// Logit that the answer ends here.
    pub end_logits: &'a [f32],
}

/// An answer that a window proposes.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    window: u16,
    text: String,
    start_logit: f32,
    end_logit: f32,
}

impl Candidate {
    /// That there is no answer, as far as `window` knows: the logits are those of its `[CLS]`.
    pub fn none(window: u16, start_logit: f32, end_logit: f32) -> Self {
        Self { window, text: String::new(), start_logit, end_logit }
    }

    fn score(&self) -> f32 {
        self.start_logit + self.end_logit
    }
}

/// One entry of nbest_predictions.json.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NBest {
    /// The answer, cut from the context; empty when no span was valid.
    pub text: String,
    /// Softmax of the score over the n-best list.
    pub probability: f64,
    /// Logit of its start.
    pub start_logit: f32,
    /// Logit of its end.
    pub end_logit: f32,
}

/// The best answers of one window, at most `n_best_size`, no text twice, best first.
///
/// Starts and ends are the `n_best_size` highest within the context; a start counts only in the window where its token
/// has maximal context. Source: `get_answers` of NVIDIA's run_squad.py, which picks the highest of the whole window and
/// then drops those outside the context; ranking within the context finds every span that does, and sometimes a better.
pub fn candidates(context: &str, window: &Window<'_>, config: &AnswerConfig) -> Vec<Candidate> {
    let byte_offsets = byte_offsets(context);
    let starts = highest(window.start_logits, config.n_best_size, |token| window.max_context[token] != 0);
    let ends = highest(window.end_logits, config.n_best_size, |_| true);
    let mut spans: Vec<(usize, usize)> = starts
        .iter()
        .flat_map(|&start| ends.iter().map(move |&end| (start, end)))
        .filter(|&(start, end)| end >= start && end - start < config.max_answer_length)
        .collect();
    let score = |&(start, end): &(usize, usize)| window.start_logits[start] + window.end_logits[end];
    spans.sort_by(|a, b| score(b).total_cmp(&score(a)).then(a.cmp(b)));
    let found = spans.into_iter().map(|(start, end)| Candidate {
        window: window.number,
        text: slice(context, &byte_offsets, window.context_starts[start], window.context_ends[end]).to_owned(),
        start_logit: window.start_logits[start],
        end_logit: window.end_logits[end],
    });
    first_of_each_text(found, config.n_best_size)
}

/// What the model answers to a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// The answer; empty where there is none.
    pub text: String,
    /// The best answers, best first, never empty.
    pub n_best: Vec<NBest>,
    /// SQuAD v2.0: by how much the score of "no answer" exceeds the best answer's.
    pub null_odds: Option<f64>,
}

/// SQuAD v1.1: the best of the candidates of all windows of a question.
pub fn answer(candidates: Vec<Candidate>, config: &AnswerConfig) -> Answered {
    let mut best = best_of_all(candidates, config);
    if best.is_empty() {
        best.push(Candidate::none(0, 0.0, 0.0));
    }
    let n_best = with_probabilities(best);
    Answered { text: n_best[0].text.clone(), n_best, null_odds: None }
}

/// SQuAD v2.0: the best of the candidates of all windows of a question, or no answer where the least that a window says for that,
/// among `nulls`, exceeds it by more than the threshold.
///
/// Source: `write_predictions` of google-research/bert's `run_squad.py`.
pub fn answer_or_none(mut candidates: Vec<Candidate>, nulls: Vec<Candidate>, config: &AnswerConfig) -> Answered {
    let least = |a: Candidate, b: Candidate| if b.score() < a.score() { b } else { a };
    let null = nulls.into_iter().reduce(least).unwrap_or_else(|| Candidate::none(0, 0.0, 0.0));
    candidates.push(null.clone());
    let mut best = best_of_all(candidates, config);
    if best.iter().all(|candidate| !candidate.text.is_empty()) {
        best.push(null.clone());
    }
    let answer = best.iter().find(|candidate| !candidate.text.is_empty());
    let score = |candidate: &Candidate| f64::from(candidate.start_logit) + f64::from(candidate.end_logit);
    let null_odds = score(&null) - answer.map_or(0.0, score);
    let text = answer.filter(|_| null_odds <= config.null_score_diff_threshold);
    let text = text.map(|candidate| candidate.text.clone()).unwrap_or_default();
    Answered { text, n_best: with_probabilities(best), null_odds: Some(null_odds) }
}

/// At most `n_best_size`, no text twice, best first.
fn best_of_all(mut candidates: Vec<Candidate>, config: &AnswerConfig) -> Vec<Candidate> {
    candidates.sort_by(|a, b| b.score().total_cmp(&a.score()).then(a.window.cmp(&b.window)));
    first_of_each_text(candidates.into_iter(), config.n_best_size)
}

/// `best` is not empty, the best comes first.
fn with_probabilities(best: Vec<Candidate>) -> Vec<NBest> {
    let highest = f64::from(best[0].score());
    let exponentials: Vec<f64> = best.iter().map(|answer| (f64::from(answer.score()) - highest).exp()).collect();
    let total: f64 = exponentials.iter().sum();
    best.into_iter()
        .zip(exponentials)
        .map(|(Candidate { text, start_logit, end_logit, .. }, exponential)| NBest {
            text,
            probability: exponential / total,
            start_logit,
            end_logit,
        })
        .collect()
}

fn first_of_each_text(candidates: impl Iterator<Item = Candidate>, limit: usize) -> Vec<Candidate> {
    let mut seen = HashSet::new();
    candidates.filter(|candidate| seen.insert(candidate.text.clone())).take(limit).collect()
}

/// Indices of the `limit` highest of `logits` that `allowed` lets pass, highest first, ties in order.
fn highest(logits: &[f32], limit: usize, allowed: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..logits.len()).filter(|&index| allowed(index)).collect();
    indices.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    indices.truncate(limit);
    indices
}

/// Byte offset of every character and of the end.
fn byte_offsets(text: &str) -> Vec<usize> {
    text.char_indices().map(|(offset, _)| offset).chain([text.len()]).collect()
}

fn slice<'a>(text: &'a str, byte_offsets: &[usize], start: u32, end: u32) -> &'a str {
    let byte = |character: u32| byte_offsets.get(character as usize).copied().unwrap_or(text.len());
    text.get(byte(start)..byte(end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window<'a>(start_logits: &'a [f32], end_logits: &'a [f32], max_context: &'a [u8]) -> Window<'a> {
        // "Ünder die Brücke": three words, characters 0..5, 6..9, 10..16
        Window {
            number: 0,
            context_starts: &[0, 6, 10],
            context_ends: &[5, 9, 16],
            max_context,
            start_logits,
            end_logits,
        }
    }

    #[test]
    fn answers_are_cut_from_the_original_characters() {
        let window = window(&[0.0, 1.0, 5.0], &[0.0, 1.0, 5.0], &[1, 1, 1]);
        let best = answer(
            candidates("Ünder die Brücke", &window, &AnswerConfig::default()),
            &AnswerConfig { n_best_size: 2, ..AnswerConfig::default() },
        )
        .n_best;
        assert_eq!(best.iter().map(|answer| answer.text.as_str()).collect::<Vec<_>>(), ["Brücke", "die Brücke"]);
        // scores 10 and 6: 1 / (1 + e^-4)
        assert!((best[0].probability - 1.0 / (1.0 + (-4.0f64).exp())).abs() < 1e-12);
    }

    #[test]
    fn a_start_without_maximal_context_is_no_start() {
        let window = window(&[0.0, 1.0, 5.0], &[0.0, 1.0, 5.0], &[1, 1, 0]);
        let found = candidates("Ünder die Brücke", &window, &AnswerConfig::default());
        assert_eq!(answer(found, &AnswerConfig::default()).text, "die Brücke");
    }

    #[test]
    fn no_answer_is_longer_than_max_answer_length_or_ends_before_it_starts() {
        let config = AnswerConfig { max_answer_length: 1, ..AnswerConfig::default() };
        let window = window(&[9.0, 0.0, 8.0], &[0.0, 9.0, 0.0], &[1, 1, 1]);
        let texts: Vec<String> = answer(candidates("Ünder die Brücke", &window, &config), &config)
            .n_best
            .into_iter()
            .map(|a| a.text)
            .collect();
        assert_eq!(texts, ["Ünder", "die", "Brücke"]);
    }

    #[test]
    fn without_a_valid_span_the_answer_is_empty() {
        let found = answer(Vec::new(), &AnswerConfig::default());
        assert_eq!((found.n_best.len(), found.text.as_str(), found.n_best[0].probability), (1, "", 1.0));
    }

    #[test]
    fn no_answer_is_given_where_the_least_of_its_scores_exceeds_the_best_answer_by_the_threshold() {
        let window = window(&[0.0, 1.0, 5.0], &[0.0, 1.0, 5.0], &[1, 1, 1]);
        let found = candidates("Ünder die Brücke", &window, &AnswerConfig::default());
        let nulls = vec![Candidate::none(0, 9.0, 4.0), Candidate::none(1, 6.0, 4.5)];
        let at = |null_score_diff_threshold| {
            let config = AnswerConfig { null_score_diff_threshold, n_best_size: 2, ..AnswerConfig::default() };
            answer_or_none(found.clone(), nulls.clone(), &config)
        };
        // The best answer has 10, the least null score is 10.5.
        assert_eq!(at(0.0).null_odds, Some(0.5));
        assert_eq!([at(0.0).text, at(0.4).text, at(0.5).text], ["", "", "Brücke"]);
        let texts: Vec<String> = at(0.0).n_best.into_iter().map(|answer| answer.text).collect();
        assert_eq!(texts, ["", "Brücke"]);
    }

    #[test]
    fn the_n_best_list_of_version_2_always_has_the_empty_answer() {
        let window = window(&[0.0, 1.0, 5.0], &[0.0, 1.0, 5.0], &[1, 1, 1]);
        let config = AnswerConfig { n_best_size: 2, ..AnswerConfig::default() };
        let found = candidates("Ünder die Brücke", &window, &config);
        let answered = answer_or_none(found, vec![Candidate::none(0, -5.0, -5.0)], &config);
        let texts: Vec<&str> = answered.n_best.iter().map(|answer| answer.text.as_str()).collect();
        assert_eq!((texts, answered.text.as_str()), (vec!["Brücke", "die Brücke", ""], "Brücke"));
        let without = answer_or_none(Vec::new(), vec![Candidate::none(0, -5.0, -5.0)], &config);
        assert_eq!((without.text.as_str(), without.n_best.len()), ("", 1));
    }
}
