//! Scores of the GLUE tasks.

/// Share of rows whose predicted class is the gold class, 0 to 1; 0 for no rows.
///
/// `predictions`, `labels`: `[B]` class numbers, row by row, here and below.
pub fn accuracy(predictions: &[i64], labels: &[i64]) -> f64 {
    ratio(count(predictions, labels, |prediction, label| prediction == label), labels.len() as f64)
}

/// F1 of class 1, 0 to 1: `2 TP / (2 TP + FP + FN)`; 0 where class 1 is neither predicted nor gold.
pub fn f1(predictions: &[i64], labels: &[i64]) -> f64 {
    let both = count(predictions, labels, |prediction, label| prediction == 1 && label == 1);
    let either = count(predictions, labels, |prediction, label| (prediction == 1) != (label == 1));
    ratio(2.0 * both, 2.0 * both + either)
}

/// Matthews' correlation coefficient over any number of classes, -1 to 1; 0 where all predictions or all labels are one class.
///
/// Source: J. Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient", 2004; with two classes it is
/// Matthews' own.
pub fn mcc(predictions: &[i64], labels: &[i64]) -> f64 {
    let num_classes = predictions.iter().chain(labels).copied().max().map_or(0, |class| class + 1);
    let rows = labels.len() as f64;
    let correct = count(predictions, labels, |prediction, label| prediction == label);
    let (mut predicted_by_gold, mut predicted_squared, mut gold_squared) = (0.0, 0.0, 0.0);
    for class in 0..num_classes {
        let predicted = count(predictions, labels, |prediction, _| prediction == class);
        let gold = count(predictions, labels, |_, label| label == class);
        predicted_by_gold += predicted * gold;
        predicted_squared += predicted * predicted;
        gold_squared += gold * gold;
    }
    let spread = (rows * rows - predicted_squared).sqrt() * (rows * rows - gold_squared).sqrt();
    ratio(correct * rows - predicted_by_gold, spread)
}

/// Pearson's correlation of `predictions` and `labels`, each `[B]`, -1 to 1; 0 where one of them does not vary.
pub fn pearson(predictions: &[f64], labels: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let (mean_prediction, mean_label) = (mean(predictions), mean(labels));
    let (mut product, mut squared_prediction, mut squared_label) = (0.0, 0.0, 0.0);
    for (prediction, label) in predictions.iter().zip(labels) {
        let (prediction, label) = (prediction - mean_prediction, label - mean_label);
        product += prediction * label;
        squared_prediction += prediction * prediction;
        squared_label += label * label;
    }
    ratio(product, squared_prediction.sqrt() * squared_label.sqrt())
}

/// Spearman's rank correlation: Pearson's of the ranks, where equal values share their mean rank.
pub fn spearman(predictions: &[f64], labels: &[f64]) -> f64 {
    pearson(&ranks(predictions), &ranks(labels))
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for group in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = first as f64 + (group.len() - 1) as f64 / 2.0;
        group.iter().for_each(|&index| ranks[index] = rank);
        first += group.len();
    }
    ranks
}

fn count(predictions: &[i64], labels: &[i64], holds: impl Fn(i64, i64) -> bool) -> f64 {
    predictions.iter().zip(labels).filter(|&(&prediction, &label)| holds(prediction, label)).count() as f64
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[test]
    fn three_of_four_right_is_three_quarters() {
        assert_eq!(accuracy(&[0, 1, 1, 0], &[0, 1, 0, 0]), 0.75);
    }

    #[test]
    fn no_rows_score_nothing() {
        assert_eq!((accuracy(&[], &[]), f1(&[], &[]), mcc(&[], &[])), (0.0, 0.0, 0.0));
        assert_eq!((pearson(&[], &[]), spearman(&[], &[])), (0.0, 0.0));
    }

    #[test]
    fn what_does_not_vary_correlates_with_nothing() {
        assert_eq!(mcc(&[1, 1, 1], &[0, 1, 1]), 0.0);
        assert_eq!(f1(&[0, 0], &[0, 0]), 0.0);
        assert_eq!(pearson(&[2.0, 2.0], &[1.0, 3.0]), 0.0);
    }

    #[test]
    fn equal_values_share_their_mean_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0, 3.0]), [3.0, 0.0, 3.0, 1.0, 3.0]);
    }

    /// Values of scikit-learn and SciPy, by make_metrics.py.
    #[derive(Deserialize)]
    struct Golden<T> {
        predictions: Vec<T>,
        labels: Vec<T>,
        scores: std::collections::BTreeMap<String, f64>,
    }

    fn check<T>(cases: Vec<Golden<T>>, score: impl Fn(&str, &[T], &[T]) -> f64) {
        assert!(cases.len() >= 3);
        for Golden { predictions, labels, scores } in cases {
            for (name, expected) in scores {
                let found = score(&name, &predictions, &labels);
                assert!((found - expected).abs() < 1e-12, "{name}: {found}, expected {expected}");
            }
        }
    }

    #[test]
    fn scores_are_those_of_scikit_learn_and_scipy() {
        let golden: serde_json::Value = serde_json::from_str(include_str!("../../golden/metrics.json")).unwrap();
        check(serde_json::from_value(golden["classes"].clone()).unwrap(), |name, predictions, labels| match name {
            "accuracy" => accuracy(predictions, labels),
            "f1" => f1(predictions, labels),
            "mcc" => mcc(predictions, labels),
            other => panic!("{other}"),
        });
        check(serde_json::from_value(golden["scores"].clone()).unwrap(), |name, predictions, labels| match name {
            "pearson" => pearson(predictions, labels),
            "spearman" => spearman(predictions, labels),
            other => panic!("{other}"),
        });
    }
}
