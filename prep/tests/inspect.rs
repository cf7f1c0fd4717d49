//! What `show`, `diff` and `inspect` say of datasets with known rows.

mod common;

use std::path::Path;

use cloze_formats::Dataset;
use cloze_prep::inspect::html::{page, readings};
use cloze_prep::inspect::survey::{Histogram, survey};
use cloze_prep::inspect::{Facts, Selection, ShowOptions, diff, show};
use cloze_prep::progress::Progress;

use common::datasets::{corpus, glue, ids, instances, questions};
use common::forge::{forge, set_in_list};

fn shown(dir: &Path, selection: Selection, options: impl FnOnce(&mut ShowOptions)) -> Result<String, String> {
    let mut chosen = ShowOptions { selection, count: 5, masks: (0, 0), colour: false, json: false };
    options(&mut chosen);
    let mut out = Vec::new();
    show(dir, &chosen, Progress::silent(), &mut out).map_err(|e| e.to_string())?;
    Ok(String::from_utf8(out).unwrap())
}

fn text(dir: &Path, selection: Selection) -> String {
    shown(dir, selection, |_| {}).unwrap()
}

fn find(dir: &Path, words: &str) -> String {
    text(dir, Selection::Find(words.to_owned()))
}

#[test]
fn rows_are_shown_by_number_range_and_seed() {
    let dir = tempfile::tempdir().unwrap();
    instances(dir.path(), 1);
    let headings = |text: &str| -> Vec<String> {
        let of_row = text.lines().filter(|line| line.starts_with("instance "));
        of_row.map(|line| line.split(':').next().unwrap().to_owned()).collect()
    };
    let rows = text(dir.path(), Selection::Rows(vec![3..=3, 9..=11]));
    assert_eq!(headings(&rows), ["instance 3", "instance 9", "instance 10", "instance 11"]);
    assert!(
        rows.starts_with(
            "instance 3: B follows A, 11 tokens, 1 to predict\n  A: [MASK:the] whale\n  B: old sea sea sea\n"
        ),
        "{rows}"
    );
    assert_eq!(headings(&text(dir.path(), Selection::First)).len(), 5);
    let random = |seed| headings(&text(dir.path(), Selection::Random(seed)));
    assert_eq!(random(7), random(7));
    assert_ne!(random(7), random(8));
    let error = shown(dir.path(), Selection::Rows(vec![18..=20]), |_| {}).unwrap_err();
    assert!(error.ends_with("expected rows below 20, found 20"), "{error}");
}

#[test]
fn a_document_is_found_by_its_id_and_shown_a_sentence_a_line() {
    let dir = tempfile::tempdir().unwrap();
    corpus(dir.path(), 4, &[&["the sea", "old ships"], &["a whale", "rope of the sea", "night"], &["rope"]]);
    let document = text(dir.path(), Selection::Document(6));
    assert_eq!(
        document,
        format!(
            "document 1 (document_id 6): 3 sentences, {} tokens\n  a whale\n  rope of the sea\n  night\n",
            ids("a whale rope of the sea night").len()
        )
    );
    let error = shown(dir.path(), Selection::Document(7), |_| {}).unwrap_err();
    assert!(error.ends_with("--document: expected an id up to 8, found 7; it is not in the corpus"), "{error}");
    let other = tempfile::tempdir().unwrap();
    instances(other.path(), 1);
    let error = shown(other.path(), Selection::Document(0), |_| {}).unwrap_err();
    assert!(error.contains("--document: expected a corpus, found a pretrain dataset"), "{error}");
}

#[test]
fn find_takes_whole_words_only_and_keeps_the_order_of_the_rows() {
    let dir = tempfile::tempdir().unwrap();
    let documents: [&[&str]; 5] =
        [&["the sea"], &["seas and seaside"], &["A SEA, calm"], &["the old sea"], &["undersea"]];
    corpus(dir.path(), 0, &documents);
    let found = find(dir.path(), "Sea");
    assert!(found.starts_with("\"Sea\" (sea): 3 rows among all 5 rows\n\n"), "{found}");
    let lines: Vec<&str> = found.lines().filter(|line| line.starts_with("document")).collect();
    assert!(lines[0].starts_with("document 0 ") || lines[0].starts_with("document 0:"), "{found}");
    assert!(lines[1].contains("document_id 4") && lines[2].contains("document_id 6"), "{found}");
    // Several pieces, several words.
    assert!(find(dir.path(), "seaside").contains(": 1 row among"));
    assert!(find(dir.path(), "old sea").contains(": 1 row among"));
    assert!(find(dir.path(), "old whale").contains(": 0 rows among all 5 rows"));
    let error = shown(dir.path(), Selection::Find("été 鯨".to_owned()), |_| {}).unwrap_err();
    assert!(error.contains("the vocabulary has no pieces for it"), "{error}");
    let colours = shown(dir.path(), Selection::Find("sea".to_owned()), |options| options.colour = true).unwrap();
    assert!(colours.contains("the \x1b[1;7msea\x1b[0m\n"), "{colours:?}");
}

#[test]
fn find_stops_where_it_has_enough_and_agrees_with_reading_every_row() {
    let dir = tempfile::tempdir().unwrap();
    instances(dir.path(), 1);
    let all: Vec<u64> = (1..20).collect();
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let json = |count| {
            let options = |options: &mut ShowOptions| (options.json, options.count) = (true, count);
            pool.install(|| shown(dir.path(), Selection::Find("sea".to_owned()), options)).unwrap()
        };
        let rows = |text: String| -> Vec<u64> {
            text.lines()
                .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["row"].as_u64().unwrap())
                .collect()
        };
        assert_eq!(rows(json(100)), all);
        assert_eq!(rows(json(4)), all[..4]);
    }
}

#[test]
fn windows_show_the_answer_as_the_context_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("squad");
    questions(&dir);
    let text = text(&dir, Selection::First);
    let first = text.split("\n\n").next().unwrap();
    assert!(first.starts_with("window 0 of question first, row 0: answer in tokens "), "{text}");
    assert!(first.contains("\n  question: what sailed ?\n  context:  the old whale sailed"), "{text}");
    assert!(
        first.contains("«ship of rope»") && first.ends_with("\n  answer:   «ship of rope»\n  gold:     ship of rope"),
        "{text}"
    );
    assert!(text.contains("row 1: answer not in this window\n"), "{text}");
}

#[test]
fn classes_bear_their_names() {
    let dir = tempfile::tempdir().unwrap();
    glue(dir.path(), &["the sea", "old ships", "a whale"]);
    let text = text(dir.path(), Selection::Rows(vec![1..=1]));
    assert!(text.starts_with("example 1: label 1 (good), "), "{text}");
    assert!(text.ends_with(" tokens\n  old ships\n"), "{text}");
}

#[test]
fn a_dataset_is_equal_to_its_copy() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    instances(a.path(), 1);
    instances(b.path(), 1);
    let comparison = diff(a.path(), b.path(), Progress::silent()).unwrap();
    assert!(comparison.equal && comparison.differences.is_empty() && comparison.rows.first_difference.is_none());
    assert_eq!(comparison.rows.batches_equal_by_checksum, 2);
}

#[test]
fn diff_names_configuration_and_the_first_row_that_differs() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    instances(a.path(), 1);
    instances(b.path(), 2);
    let whale = ids("whale")[0];
    for row in [9, 5] {
        forge(b.path(), 1, "input_ids", |lists| set_in_list(lists, row, 1, whale));
    }
    let comparison = diff(a.path(), b.path(), Progress::silent()).unwrap();
    let keys: Vec<_> = comparison.differences.iter().map(|d| (d.part, d.key.as_str())).collect();
    assert_eq!(keys, [("configuration", "seed")]);
    let first = comparison.rows.first_difference.as_ref().unwrap();
    assert_eq!((first.row, first.token), (15, Some(1)));
    let mut out = Vec::new();
    comparison.render(false, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("\n  seed                         1 -> 2\n"), "{text}");
    assert!(text.contains("20 rows, the first difference is in row 15, at token 1\n- A instance 15: "), "{text}");
    assert!(text.contains("A: [MASK:the] whale\n") && text.contains("A: [MASK:whale] whale\n"), "{text}");
    assert!(text.ends_with("\ndifferent\n"), "{text}");
}

#[test]
fn held_out_parts_are_compared_too() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let compare = || {
        let comparison = diff(a.path(), b.path(), Progress::silent()).unwrap();
        let mut out = Vec::new();
        comparison.render(false, &mut out).unwrap();
        (comparison, String::from_utf8(out).unwrap())
    };
    [&a, &b].iter().for_each(|dir| instances(dir.path(), 1));
    instances(&a.path().join("held-out"), 1);
    let (one_sided, text) = compare();
    assert!(!one_sided.equal && one_sided.held_out.is_none());
    assert_eq!((one_sided.differences.len(), one_sided.differences[0].part), (1, "held-out"));
    assert!(text.contains("\nheld-out\n  rows                         20 -> absent\n"), "{text}");
    instances(&b.path().join("held-out"), 1);
    let (same, text) = compare();
    assert!(same.equal && text.ends_with("\nequal, held-out part included\n"), "{text}");
    forge(&b.path().join("held-out"), 1, "input_ids", |lists| set_in_list(lists, 2, 1, ids("whale")[0]));
    let (different, text) = compare();
    assert!(!different.equal && different.differences.is_empty() && different.rows.first_difference.is_none());
    assert_eq!(different.held_out.unwrap().rows.first_difference.unwrap().row, 12);
    assert!(text.ends_with("\ndifferent, held-out part included\n"), "{text}");
}

#[test]
fn a_shorter_dataset_differs_in_its_first_missing_row() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    glue(a.path(), &["the sea", "old ships", "a whale"]);
    glue(b.path(), &["the sea", "old ships"]);
    let comparison = diff(a.path(), b.path(), Progress::silent()).unwrap();
    let first = comparison.rows.first_difference.unwrap();
    assert_eq!((first.row, first.a.is_some(), first.b.is_some()), (2, true, false));
    let keys: Vec<_> = comparison.differences.iter().filter(|d| d.key == "rows").collect();
    assert_eq!((keys.len(), keys[0].part), (1, "statistics"));
}

#[test]
fn datasets_of_different_kinds_are_different_without_comparing_rows() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    instances(a.path(), 1);
    glue(b.path(), &["the sea"]);
    let comparison = diff(a.path(), b.path(), Progress::silent()).unwrap();
    assert!(!comparison.equal && !comparison.rows.compared);
    assert!(comparison.differences.iter().any(|d| (d.part, d.key.as_str()) == ("format", "kind")));
}

#[test]
fn a_survey_counts_every_token_and_mask() {
    let dir = tempfile::tempdir().unwrap();
    instances(dir.path(), 1);
    let dataset = Dataset::open(dir.path()).unwrap();
    let survey = survey(&dataset, true, Progress::silent()).unwrap();
    assert_eq!((survey.rows_read, survey.num_rows, survey.tokens), (20, 20, dataset.manifest().num_tokens()));
    let count = |token: &str| survey.frequent.iter().find(|t| t.token == token).unwrap().count;
    // 0 + 1 + ... + 19 times "sea", once "the" and "whale" in each instance.
    assert_eq!((count("sea"), count("the"), count("whale")), (190, 20, 20));
    assert_eq!(survey.frequent[0].token, "sea");
    let histogram = |name: &str| -> &Histogram { survey.histograms.iter().find(|h| h.name == name).unwrap() };
    assert_eq!(histogram("masks_per_instance").counts, [0, 20]);
    assert_eq!(histogram("masks_by_position").counts, [0, 20]);
    assert_eq!(histogram("segment_a_length").counts, [0, 0, 20]);
    assert_eq!(histogram("segment_b_length").total(), 20);
}

#[test]
fn the_report_needs_nothing_beside_it_and_has_a_plot_for_each_figure() {
    let dir = tempfile::tempdir().unwrap();
    for (make, plots) in [
        // Lengths, masks per instance and by position, segments A and B, shards; next sentence, masks.
        (&(|dir: &Path| instances(dir, 1)) as &dyn Fn(&Path), (6, 2)),
        (&|dir: &Path| corpus(dir, 0, &[&["the sea", "old <b>ships</b> & \"rope\""], &["a whale"]]), (3, 0)),
        (&|dir: &Path| questions(dir), (5, 1)),
        (&|dir: &Path| glue(dir, &["the sea", "old ships", "a whale"]), (1, 1)),
    ] {
        let dir = dir.path().join(format!("{}-{}", plots.0, plots.1));
        make(&dir);
        let dataset = Dataset::open(&dir).unwrap();
        let mut facts = Facts::read(&dir).unwrap();
        facts.survey = Some(survey(&dataset, true, Progress::silent()).unwrap());
        let html = page(&facts, &readings(&dataset).unwrap());
        let shares = html.matches("<svg class=\"parts\"").count();
        assert_eq!((html.matches("<svg").count() - shares, shares), plots, "{}", facts.kind);
        for foreign in ["http:", "https:", "src=", "href=", "url(", "@import", "<script", "<b>ships"] {
            assert!(!html.contains(foreign), "{foreign} in the report of a {} dataset", facts.kind);
        }
        for tag in ["section", "div", "table", "svg", "p", "mark", "tr", "td"] {
            let opened = html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "{tag} in {}", facts.kind);
        }
        assert!(html.contains("All figures are of all rows."));
        assert!(html.contains("prefers-color-scheme:dark"));
    }
}
