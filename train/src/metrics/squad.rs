//! SQuAD v1.1: the official scores, and the way from logits to an answer's text.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

/// The official evaluator's two numbers, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Share of questions whose normalised answer equals a normalised gold answer.
    pub exact_match: f64,
    /// Mean F1 of the answer's words against the best gold answer.
    pub f1: f64,
}

/// One question: what the evaluator needs to know of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// SQuAD's id of the question.
    pub id: String,
    /// The paragraph the answer is cut from.
    pub context: String,
    /// Gold answers; several in the development set.
    #[serde(default)]
    pub answers: Vec<Answer>,
}

/// A gold answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// As it stands in the context.
    pub text: String,
}

/// Scores `predictions` (question id -> text). A question without a prediction scores 0; no questions score 0.
///
/// Source: evaluate-v1.1.py of the SQuAD authors.
pub fn evaluate(examples: &[Example], predictions: &BTreeMap<String, String>) -> Scores {
    let (mut exact_match, mut f1) = (0.0, 0.0);
    for example in examples {
        if let Some(prediction) = predictions.get(&example.id) {
            let golds = || example.answers.iter().map(|answer| answer.text.as_str());
            exact_match += golds().map(|gold| f64::from(exact(prediction, gold))).fold(0.0, f64::max);
            f1 += golds().map(|gold| token_f1(prediction, gold)).fold(0.0, f64::max);
        }
    }
    // Divided last, as the evaluator does: a perfect score is then exactly 100.
    let percent = |sum: f64| 100.0 * sum / examples.len().max(1) as f64;
    Scores { exact_match: percent(exact_match), f1: percent(f1) }
}

/// Lower case, without ASCII punctuation, without the words a, an and the, white space collapsed.
pub fn normalize(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut word = String::new();
    let lower = text.to_lowercase();
    for c in lower.chars().filter(|c| !c.is_ascii_punctuation()) {
        // Python's `\w`, whose runs are what `\b(a|an|the)\b` can match whole.
        if c.is_alphanumeric() {
            word.push(c);
        } else {
            flush_word(&mut word, &mut kept);
            kept.push(c);
        }
    }
    flush_word(&mut word, &mut kept);
    kept.split(is_python_space).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn flush_word(word: &mut String, kept: &mut String) {
    kept.push_str(if matches!(word.as_str(), "a" | "an" | "the") { " " } else { word });
    word.clear();
}

/// `str.isspace` of Python: Unicode white space and the four ASCII information separators.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn exact(prediction: &str, gold: &str) -> bool {
    normalize(prediction) == normalize(gold)
}

/// F1 of the two bags of normalised words; 0 when they share none.
pub fn token_f1(prediction: &str, gold: &str) -> f64 {
    let (prediction, gold) = (normalize(prediction), normalize(gold));
    let words = |text: &str| text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let (prediction, gold) = (words(&prediction), words(&gold));
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in &gold {
        *left.entry(word).or_default() += 1;
    }
    let mut num_same = 0usize;
    for word in &prediction {
        if let Some(count) = left.get_mut(word.as_str()).filter(|count| **count > 0) {
            *count -= 1;
            num_same += 1;
        }
    }
    if num_same == 0 {
        return 0.0;
    }
    let precision = num_same as f64 / prediction.len() as f64;
    let recall = num_same as f64 / gold.len() as f64;
    2.0 * precision * recall / (precision + recall)
}

/// How answers are searched; BERT's knobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerConfig {
    /// Starts and ends tried per window, and answers kept per question. Default 20.
    pub n_best_size: usize,
    /// Longest answer, in tokens. Default 30.
    pub max_answer_length: usize,
}

impl Default for AnswerConfig {
    fn default() -> Self {
        Self { n_best_size: 20, max_answer_length: 30 }
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

/// The n-best list of a question from the candidates of all its windows, best first, never empty.
pub fn n_best(mut candidates: Vec<Candidate>, config: &AnswerConfig) -> Vec<NBest> {
    candidates.sort_by(|a, b| b.score().total_cmp(&a.score()).then(a.window.cmp(&b.window)));
    let mut best = first_of_each_text(candidates.into_iter(), config.n_best_size);
    if best.is_empty() {
        best.push(Candidate { window: 0, text: String::new(), start_logit: 0.0, end_logit: 0.0 });
    }
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

    fn example(id: &str, golds: &[&str]) -> Example {
        let answers = golds.iter().map(|text| Answer { text: (*text).to_owned() }).collect();
        Example { id: id.to_owned(), context: String::new(), answers }
    }

    #[test]
    fn normalisation_drops_case_punctuation_articles_and_spare_spaces() {
        assert_eq!(normalize("  The  Cat's  an (Apple)\u{a0}pie!\u{1f}x "), "cats apple pie x");
        assert_eq!(normalize("a theater and another"), "theater and another");
        assert_eq!(normalize("A–Z"), "–z"); // an en dash is no ASCII punctuation and ends a word
        assert_eq!(normalize("U.S.A."), "usa");
        assert_eq!(normalize("the_end"), "theend"); // the underscore goes before the words are looked at
        assert_eq!(normalize("The"), "");
    }

    #[test]
    fn f1_counts_shared_words_as_bags() {
        // 2 of 3 predicted words, 2 of 2 gold words: 2 * (2/3) * 1 / (5/3) = 0.8
        assert!((token_f1("the big red dog", "Red dog.") - 0.8).abs() < 1e-12);
        // "cat" twice predicted, once gold: precision 1/2, recall 1
        assert!((token_f1("cat cat", "a cat") - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(token_f1("left", "right"), 0.0);
        assert_eq!(token_f1("the", "the"), 0.0); // nothing is left to share, as in the official script
    }

    #[test]
    fn the_best_gold_answer_counts_and_a_missing_prediction_scores_nothing() {
        let examples = [example("1", &["red", "the red dog"]), example("2", &["blue"])];
        let predictions = BTreeMap::from([("1".to_owned(), "Red Dog".to_owned())]);
        assert_eq!(evaluate(&examples, &predictions), Scores { exact_match: 50.0, f1: 50.0 });
        assert_eq!(evaluate(&examples, &BTreeMap::new()), Scores::default());
    }

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
        let best = n_best(
            candidates("Ünder die Brücke", &window, &AnswerConfig::default()),
            &AnswerConfig { n_best_size: 2, ..AnswerConfig::default() },
        );
        assert_eq!(best.iter().map(|answer| answer.text.as_str()).collect::<Vec<_>>(), ["Brücke", "die Brücke"]);
        // scores 10 and 6: 1 / (1 + e^-4)
        assert!((best[0].probability - 1.0 / (1.0 + (-4.0f64).exp())).abs() < 1e-12);
    }

    #[test]
    fn a_start_without_maximal_context_is_no_start() {
        let window = window(&[0.0, 1.0, 5.0], &[0.0, 1.0, 5.0], &[1, 1, 0]);
        let best = n_best(candidates("Ünder die Brücke", &window, &AnswerConfig::default()), &AnswerConfig::default());
        assert_eq!(best[0].text, "die Brücke");
    }

    #[test]
    fn no_answer_is_longer_than_max_answer_length_or_ends_before_it_starts() {
        let config = AnswerConfig { max_answer_length: 1, ..AnswerConfig::default() };
        let window = window(&[9.0, 0.0, 8.0], &[0.0, 9.0, 0.0], &[1, 1, 1]);
        let texts: Vec<String> =
            n_best(candidates("Ünder die Brücke", &window, &config), &config).into_iter().map(|a| a.text).collect();
        assert_eq!(texts, ["Ünder", "die", "Brücke"]);
    }

    #[test]
    fn without_a_valid_span_the_answer_is_empty() {
        let best = n_best(Vec::new(), &AnswerConfig::default());
        assert_eq!((best.len(), best[0].text.as_str(), best[0].probability), (1, "", 1.0));
    }
}
