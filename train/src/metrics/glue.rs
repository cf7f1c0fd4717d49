//! Scores of the GLUE tasks.

/// Share of rows whose predicted class is the gold class, 0 to 1; 0 for no rows.
///
/// `predictions`, `labels`: `[B]` class numbers, row by row.
pub fn accuracy(predictions: &[i64], labels: &[i64]) -> f64 {
    if labels.is_empty() {
        return 0.0;
    }
    let num_correct = predictions.iter().zip(labels).filter(|(prediction, label)| prediction == label).count();
    num_correct as f64 / labels.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_of_four_right_is_three_quarters() {
        assert_eq!(accuracy(&[0, 1, 1, 0], &[0, 1, 0, 0]), 0.75);
    }

    #[test]
    fn no_rows_score_nothing() {
        assert_eq!(accuracy(&[], &[]), 0.0);
    }
}
