//! Each promise of rows, broken once.

use cloze_formats::manifest::Kind;
use cloze_formats::row::{CorpusRow, GlueRow, Label, PretrainRow, StaticMask, Tokens};
use cloze_formats::statistics::ScoreCounts;
use cloze_formats::vocabulary::SpecialIds;

use super::*;

fn vocabulary() -> VocabularyInfo {
    let special = SpecialIds { pad: 0, unk: 1, cls: 2, sep: 3, mask: 4 };
    VocabularyInfo { sha256: String::new(), num_tokens: 100, cased: false, special }
}

fn problem(kind: Kind, optional: bool, row: impl Into<Row<'static>>) -> String {
    let vocabulary = vocabulary();
    let promises = Promises {
        layout: Layout::new(kind, 100, optional),
        vocabulary: &vocabulary,
        max_seq_length: (kind != Kind::Corpus).then_some(8),
        max_predictions: Some(2),
        task: GlueTask { labels: vec!["0".to_owned(), "1".to_owned()], ..GlueTask::default() },
        questions: None,
    };
    promises.check(&row.into()).err().unwrap_or_else(|| "fine".to_owned())
}

fn instance(ids: &'static [u32], segment_a_length: u16, masks: &'static [(u16, u32)]) -> PretrainRow<'static> {
    let positions: Vec<u16> = masks.iter().map(|m| m.0).collect();
    let inputs: Vec<u32> = masks.iter().map(|m| m.1).collect();
    let masked = StaticMask { positions: positions.leak(), inputs: Tokens::U32(inputs.leak()) };
    PretrainRow { input_ids: ids.into(), segment_a_length, next_sentence_label: false, masked: Some(masked) }
}

#[test]
fn each_broken_promise_of_an_instance_is_named() {
    let good: &[u32] = &[2, 10, 11, 3, 12, 13, 3];
    let cases = [
        (instance(good, 4, &[(1, 4), (4, 50)]), "fine"),
        (instance(&[2, 10, 100, 3, 12, 13, 3], 4, &[(1, 4)]), "expected token ids below 100, found 100"),
        (instance(&[5, 10, 11, 3, 12, 13, 3], 4, &[(1, 4)]), "expected [CLS] first and [SEP] last"),
        (instance(&[2, 10, 11, 3, 12, 13, 9], 4, &[(1, 4)]), "expected [CLS] first and [SEP] last"),
        (instance(good, 3, &[(1, 4)]), "expected segment_a_length to end at a [SEP] within 7 tokens, found 3"),
        (instance(good, 9, &[(1, 4)]), "expected segment_a_length to end at a [SEP] within 7 tokens, found 9"),
        (
            instance(&[2, 10, 11, 3, 12, 3, 3], 4, &[(1, 4)]),
            "expected no special token inside the text, found [SEP] at position 5",
        ),
        (
            instance(&[2, 4, 11, 3, 12, 13, 3], 4, &[(2, 4)]),
            "expected no special token inside the text, found [MASK] at position 1",
        ),
        (
            instance(&[2, 10, 11, 3, 0, 13, 3], 4, &[(2, 4)]),
            "expected no special token inside the text, found [PAD] at position 4",
        ),
        (
            instance(&[2, 10, 11, 3, 12, 13, 14, 15, 3], 4, &[(1, 4)]),
            "expected at most max_seq_length (8) tokens, found 9",
        ),
        (instance(good, 4, &[(1, 4), (2, 4), (4, 4)]), "expected at most max_predictions_per_seq (2) masks, found 3"),
        (instance(good, 4, &[(2, 4), (1, 4)]), "expected ascending masked_lm_positions"),
        (
            instance(good, 4, &[(3, 4)]),
            "expected masked_lm_positions inside the segments, found one at a special token or outside",
        ),
        (
            instance(good, 4, &[(7, 4)]),
            "expected masked_lm_positions inside the segments, found one at a special token or outside",
        ),
        (instance(good, 4, &[(1, 200)]), "expected masked_lm_inputs below 100, found 200"),
    ];
    for (row, expected) in cases {
        assert_eq!(problem(Kind::Pretrain, true, row), expected, "{row:?}");
    }
    let dynamic = PretrainRow { masked: None, ..instance(good, 4, &[]) };
    assert_eq!(problem(Kind::Pretrain, true, dynamic), "static masks do not fit the columns");
}

#[test]
fn each_broken_promise_of_a_document_is_named() {
    let document = |token_ids: &'static [u32], sentence_lengths: &'static [u16]| {
        problem(Kind::Corpus, false, CorpusRow { document_id: 0, token_ids: token_ids.into(), sentence_lengths })
    };
    assert_eq!(document(&[10, 11, 12], &[2, 1]), "fine");
    assert_eq!(document(&[10, 11, 12], &[2, 2]), "expected sentence_lengths that add up to 3 tokens, found 4");
    assert_eq!(document(&[10, 11, 12], &[3, 0]), "expected no empty sentence");
    assert_eq!(document(&[10, 2, 12], &[3]), "expected no special token inside the text, found [CLS] at position 1");
}

#[test]
fn each_broken_promise_of_a_glue_example_is_named() {
    let example = |input_ids: &'static [u32], segment_a_length, label| {
        problem(Kind::Glue, true, GlueRow { input_ids: input_ids.into(), segment_a_length, label, row_id: 0 })
    };
    assert_eq!(example(&[2, 10, 3], 3, Some(Label::Class(1))), "fine");
    assert_eq!(example(&[2, 10, 3, 11, 3], 3, Some(Label::Class(0))), "fine");
    assert_eq!(example(&[2, 10, 3], 3, Some(Label::Class(2))), "expected a class below 2, found 2");
    assert_eq!(example(&[2, 10, 3], 3, Some(Label::Class(-1))), "expected a class of at least 0, found -1");
    assert_eq!(example(&[2, 10, 3], 3, None), "the label does not fit the columns");
    assert_eq!(
        example(&[2, 3, 10, 3], 4, Some(Label::Class(0))),
        "expected no special token inside the text, found [SEP] at position 1"
    );
}

#[test]
fn differing_figures_are_named_with_both_values() {
    let mut manifest = Statistics { rows: 3, length_histogram: vec![0, 3], ..Statistics::default() };
    manifest.masked.kept = 2;
    let mut recount = Statistics { rows: 3, length_histogram: vec![0, 2, 1], ..Statistics::default() };
    recount.labels.insert(1, 4);
    let expected = [
        "statistics.labels.1: manifest says 0, the rows have 4; rebuild the dataset",
        "statistics.masked.kept: manifest says 2, the rows have 0; rebuild the dataset",
        "statistics.length_histogram[1]: manifest says 3, the rows have 2; rebuild the dataset",
        "statistics.length_histogram[2]: manifest says 0, the rows have 1; rebuild the dataset",
    ];
    assert_eq!(compare_statistics(&manifest, &recount), expected);
    assert!(compare_statistics(&manifest, &manifest).is_empty());
}

#[test]
fn differing_scores_are_named_whatever_their_sign_and_fraction() {
    let scores = |min, sum_millionths| {
        let scores = ScoreCounts { rows: 2, min, max: 4.75, sum_millionths };
        Statistics { rows: 2, scores: Some(scores), ..Statistics::default() }
    };
    let expected = [
        "statistics.scores.min: manifest says 0.5, the rows have 0.1; rebuild the dataset",
        "statistics.scores.sum_millionths: manifest says -3, the rows have 4850000; rebuild the dataset",
    ];
    assert_eq!(compare_statistics(&scores(0.5, -3), &scores(0.1, 4_850_000)), expected);
    let found = compare_statistics(&Statistics { rows: 2, ..Statistics::default() }, &scores(0.0, 4_750_000));
    let names: Vec<&str> = found.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(names, ["statistics.scores.max", "statistics.scores.rows", "statistics.scores.sum_millionths"]);
}

#[test]
fn masks_far_from_80_10_10_are_implausible() {
    let mut statistics = Statistics::default();
    statistics.masked.mask = 8_000;
    statistics.masked.random = 1_000;
    statistics.masked.kept = 1_000;
    assert_eq!(implausible_masks(&statistics), None);
    statistics.masked.mask = 0;
    statistics.masked.kept = 9_000;
    assert!(implausible_masks(&statistics).unwrap().contains("found 0.0, 10.0 and 90.0 %"));
    statistics.masked.kept = 10;
    assert_eq!(implausible_masks(&statistics), None, "too few to say");
}
