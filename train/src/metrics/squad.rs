//! SQuAD's official scores, v1.1 and v2.0.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The two numbers of v1.1's official evaluator, in percent.
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
    /// Gold answers; several in the development set, none where the question is impossible.
    #[serde(default)]
    pub answers: Vec<Answer>,
}

/// A gold answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// As it stands in the context.
    pub text: String,
}

/// v1.1's scores of `predictions` (question id -> text). A question without a prediction scores 0; no questions score 0.
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

/// What v2.0's official evaluator says, in percent; its key names in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ScoresV2 {
    /// Over all questions that have a prediction.
    pub all: Part,
    /// Over those with an answer; absent where there are none.
    pub has_answer: Option<Part>,
    /// Over those without.
    pub no_answer: Option<Part>,
    /// The best `exact` that a threshold on the null odds could reach.
    pub best_exact: Best,
    /// The best `f1` that a threshold on the null odds could reach.
    pub best_f1: Best,
}

/// Scores over a part of the questions, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Part {
    /// Share of exact matches.
    pub exact: f64,
    /// Mean F1.
    pub f1: f64,
    /// Questions.
    pub total: usize,
}

/// A score at its best threshold: questions whose null odds are higher count as unanswered.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Best {
    /// In percent.
    pub score: f64,
    /// The threshold.
    pub threshold: f64,
}

impl ScoresV2 {
    /// Under the evaluator's names.
    pub fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        let parts = [("", Some(self.all)), ("HasAns_", self.has_answer), ("NoAns_", self.no_answer)];
        for (prefix, part) in parts {
            let Some(part) = part else { continue };
            fields.insert(format!("{prefix}exact"), part.exact.into());
            fields.insert(format!("{prefix}f1"), part.f1.into());
            fields.insert(format!("{prefix}total"), part.total.into());
        }
        for (name, best) in [("best_exact", self.best_exact), ("best_f1", self.best_f1)] {
            fields.insert(name.to_owned(), best.score.into());
            fields.insert(format!("{name}_thresh"), best.threshold.into());
        }
        fields
    }
}

/// One question's scores, 0 to 1.
struct Raw<'a> {
    id: &'a str,
    has_answer: bool,
    is_answered: bool,
    exact: f64,
    f1: f64,
}

/// v2.0's scores of `predictions` (question id -> text, empty for "no answer"), with `null_odds` (question id -> how much more the
/// model believes that there is no answer) for the best thresholds. Questions without a prediction are left out.
///
/// Source: evaluate-v2.0.py of the SQuAD authors, called with `--na-prob-file` and its default threshold of 1 on probabilities, which
/// is no threshold: predictions are taken as they are.
pub fn evaluate_v2(
    examples: &[Example],
    predictions: &BTreeMap<String, String>,
    null_odds: &BTreeMap<String, f64>,
) -> ScoresV2 {
    let raw: Vec<Raw<'_>> = examples
        .iter()
        .filter_map(|example| predictions.get(&example.id).map(|prediction| raw(example, prediction)))
        .collect();
    let part = |wanted: &dyn Fn(&&Raw<'_>) -> bool| {
        let (mut part, mut sums) = (Part::default(), (0.0, 0.0));
        for raw in raw.iter().filter(wanted) {
            sums = (sums.0 + raw.exact, sums.1 + raw.f1);
            part.total += 1;
        }
        let percent = |sum: f64| 100.0 * sum / part.total.max(1) as f64;
        Part { exact: percent(sums.0), f1: percent(sums.1), ..part }
    };
    let some = |part: Part| (part.total > 0).then_some(part);
    ScoresV2 {
        all: part(&|_| true),
        has_answer: some(part(&|raw| raw.has_answer)),
        no_answer: some(part(&|raw| !raw.has_answer)),
        best_exact: best_threshold(&raw, null_odds, |raw| raw.exact),
        best_f1: best_threshold(&raw, null_odds, |raw| raw.f1),
    }
}

fn raw<'a>(example: &'a Example, prediction: &str) -> Raw<'a> {
    let mut golds: Vec<&str> = example.answers.iter().map(|answer| answer.text.as_str()).collect();
    golds.retain(|gold| !normalize(gold).is_empty());
    if golds.is_empty() {
        golds.push("");
    }
    Raw {
        id: &example.id,
        has_answer: !example.answers.is_empty(),
        is_answered: !prediction.is_empty(),
        exact: golds.iter().map(|gold| f64::from(exact(prediction, gold))).fold(0.0, f64::max),
        f1: golds.iter().map(|gold| token_f1_or_both_empty(prediction, gold)).fold(0.0, f64::max),
    }
}

/// v2.0's F1: nothing against nothing is right.
fn token_f1_or_both_empty(prediction: &str, gold: &str) -> f64 {
    if normalize(prediction).is_empty() && normalize(gold).is_empty() { 1.0 } else { token_f1(prediction, gold) }
}

/// Goes up through the null odds, from "nothing is answered" on, and remembers where the sum of scores was highest.
fn best_threshold(raw: &[Raw<'_>], null_odds: &BTreeMap<String, f64>, score: impl Fn(&Raw<'_>) -> f64) -> Best {
    let mut by_odds: Vec<(f64, &Raw<'_>)> =
        raw.iter().filter_map(|raw| null_odds.get(raw.id).map(|&odds| (odds, raw))).collect();
    // The evaluator's order of equal odds is that of the file of odds, which we write sorted by id.
    by_odds.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.id.cmp(b.1.id)));
    let mut current = raw.iter().filter(|raw| !raw.has_answer).count() as f64;
    let (mut best, mut threshold) = (current, 0.0);
    for (odds, raw) in by_odds {
        current += match (raw.has_answer, raw.is_answered) {
            (true, _) => score(raw),
            (false, true) => -1.0,
            (false, false) => 0.0,
        };
        if current > best {
            (best, threshold) = (current, odds);
        }
    }
    Best { score: 100.0 * best / raw.len().max(1) as f64, threshold }
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

    /// Questions, answers and scores by make_metrics.py.
    #[derive(Deserialize)]
    struct Golden {
        examples: Vec<Example>,
        predictions: BTreeMap<String, String>,
        null_odds: BTreeMap<String, f64>,
        scores: BTreeMap<String, f64>,
    }

    #[test]
    fn version_2_s_scores_are_those_of_the_evaluator_written_anew() {
        let golden: serde_json::Value = serde_json::from_str(include_str!("../../golden/metrics.json")).unwrap();
        let cases: Vec<Golden> = serde_json::from_value(golden["squad_v2"].clone()).unwrap();
        assert_eq!(cases.len(), 5);
        for case in cases {
            let scores = evaluate_v2(&case.examples, &case.predictions, &case.null_odds).fields();
            assert_eq!(scores.keys().collect::<Vec<_>>(), case.scores.keys().collect::<Vec<_>>());
            for (name, expected) in case.scores {
                let found = scores[&name].as_f64().unwrap();
                assert!((found - expected).abs() < 1e-9, "{name}: {found}, expected {expected}");
            }
        }
    }
}
