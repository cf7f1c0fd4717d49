//! GLUE files to examples, and what is refused.

mod common;

use std::path::Path;

use cloze_formats::finetune::{GlueTask, Metric};
use cloze_formats::{Dataset, Label};
use cloze_prep::glue::{GlueConfig, SplitSummary, glue};
use cloze_prep::progress::Progress;
use cloze_prep::wordpiece::decode;

use common::vocabulary;

fn task(name: &str) -> GlueConfig {
    GlueConfig { task: name.to_owned(), ..GlueConfig::default() }
}

fn run(dir: &Path, config: &GlueConfig) -> cloze_prep::Result<Vec<SplitSummary>> {
    glue(config, dir, &vocabulary(), &dir.join("out"), &Progress::silent())
}

/// A directory of these files.
fn files(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    dir
}

fn open(dir: &tempfile::TempDir, split: &str) -> Dataset {
    Dataset::open(dir.path().join("out").join(split)).unwrap()
}

/// Text, label and row of every example.
fn rows(dataset: &Dataset) -> Vec<(String, Option<Label>, u64)> {
    let row = |index| {
        let row = dataset.glue_row(index).unwrap();
        (decode(dataset.vocabulary(), &row.input_ids.to_vec()), row.label, row.row_id)
    };
    (0..dataset.len()).map(row).collect()
}

fn labels(dataset: &Dataset) -> Vec<Option<Label>> {
    rows(dataset).into_iter().map(|(_, label, _)| label).collect()
}

fn class(class: i32) -> Option<Label> {
    Some(Label::Class(class))
}

/// What is said about a `name` of this content.
fn refusal(config: &GlueConfig, name: &str, content: impl AsRef<[u8]>) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(name), content).unwrap();
    let error = run(dir.path(), config).unwrap_err().to_string();
    assert!(!dir.path().join("out").exists(), "something was written");
    error.split_once(&format!("{name}: ")).unwrap_or_else(|| panic!("{error}")).1.to_owned()
}

fn message(content: impl AsRef<[u8]>) -> String {
    refusal(&GlueConfig::default(), "train.tsv", content)
}

#[test]
fn each_file_becomes_a_dataset_and_quotes_mean_themselves() {
    let dir = files(&[
        ("train.tsv", "sentence\tlabel\nthe \"old sea\t1\r\nships\t0\n"),
        ("test.tsv", "index\tsentence\n0\ta whale\n1\tand the sea of the\n"),
    ]);
    let config = GlueConfig { max_seq_length: 6, ..GlueConfig::default() };
    let summaries = run(dir.path(), &config).unwrap();
    let counts: Vec<_> = summaries.iter().map(|s| (s.split, s.examples, s.truncated)).collect();
    assert_eq!(counts, [("train", 2, 1), ("test", 2, 1)]);

    let train = open(&dir, "train");
    let expected = [("[CLS] the \" ol [SEP]".to_owned(), class(1), 0), ("[CLS] ships [SEP]".to_owned(), class(0), 1)];
    assert_eq!(rows(&train), expected);
    let row = train.glue_row(0).unwrap();
    assert_eq!(usize::from(row.segment_a_length), row.input_ids.len());

    let test = open(&dir, "test");
    assert_eq!(test.glue_row(1).unwrap().label, None);
    assert!(!dir.path().join("out/dev").exists());
}

#[test]
fn bad_rows_are_located_by_line() {
    assert_eq!(
        message("sentence\tlabel\na\t1\nb\t1\textra\n"),
        "line 3: expected 2 columns (sentence, label), found 3"
    );
    assert_eq!(message("sentence\tlabel\nno label\n"), "line 2: expected 2 columns (sentence, label), found 1");
    assert_eq!(message("sentence\tlabel\n\na\t1\n"), "line 2: expected 2 columns (sentence, label), found 1");
    assert_eq!(message("sentence\tlabel\na\t2\n"), "line 2: expected a label of 0, 1, found \"2\"");
    assert_eq!(
        message("text\tlabel\na\t1\n"),
        "line 1: expected a header with the columns sentence, label, found \"text\\tlabel\""
    );
    assert_eq!(
        message("sentence\tlabel\tlabel\na\t1\t1\n"),
        "line 1: expected a header with the columns sentence, label, found \"sentence\\tlabel\\tlabel\""
    );
    assert_eq!(message("sentence\tlabel\n"), "expected examples, found none");
    assert_eq!(message(b"sentence\tlabel\na\t1\n\xff\t1\n"), "line 3: expected UTF-8 text, found other bytes");
}

#[test]
fn test_rows_are_numbered_as_they_stand() {
    let said = refusal(&GlueConfig::default(), "test.tsv", "index\tsentence\n0\ta\n2\tb\n");
    assert_eq!(said, "line 3: expected index 1, found \"2\"");
}

#[test]
fn unknown_tasks_and_directories_without_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = run(dir.path(), &task("SST-3")).unwrap_err().to_string();
    let tasks = "cola, sst-2, mrpc, sts-b, qqp, mnli, qnli, rte, wnli, ax";
    assert_eq!(error, format!("SST-3: expected a GLUE task ({tasks}), found another"));
    let error = run(dir.path(), &task("MNLI")).unwrap_err().to_string();
    let looked_for = "train.tsv, dev_matched.tsv, dev_mismatched.tsv, test_matched.tsv, test_mismatched.tsv";
    assert!(error.ends_with(&format!("expected a file of mnli here ({looked_for}), found none of them")), "{error}");
    let missing = dir.path().join("nowhere");
    let error = run(&missing, &GlueConfig::default()).unwrap_err().to_string();
    assert!(error.contains("nowhere") && error.to_lowercase().contains("no"), "{error}");
}

#[test]
fn cola_has_no_header_but_in_its_test_file() {
    let dir = files(&[
        ("train.tsv", "gj04\t1\t\tthe ships sailed\nbc01\t0\t*\tsailed the the\n"),
        ("test.tsv", "index\tsentence\n0\tthe sea\n"),
    ]);
    run(dir.path(), &task("CoLA")).unwrap();
    let train = open(&dir, "train");
    assert_eq!(labels(&train), [class(1), class(0)]);
    assert_eq!(rows(&train)[1].0, "[CLS] sailed the the [SEP]");
    let description = GlueTask::of(train.manifest());
    assert_eq!((description.task.as_str(), description.metrics.as_slice()), ("cola", &[Metric::Mcc][..]));
    assert_eq!((description.name(0), description.name(1)), ("unacceptable".to_owned(), "acceptable".to_owned()));
    assert_eq!(GlueTask::of(open(&dir, "test").manifest()).submission.as_deref(), Some("CoLA.tsv"));
}

/// MRPC's header begins with a byte order mark.
const MSR: &str = "\u{feff}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n";

#[test]
fn mrpc_is_divided_by_its_list_of_ids_or_comes_divided() {
    let rows_of = |file: &str| {
        let row = |label, a, b| format!("{label}\t{a}\t{b}\tthe sea {file} {a}\tthe \"old sea {b}\n");
        format!("{MSR}{}{}{}", row(1, 11, 12), row(0, 21, 22), row(1, 31, 32))
    };
    let original = files(&[
        ("msr_paraphrase_train.txt", &rows_of("train")),
        ("msr_paraphrase_test.txt", &rows_of("test")),
        ("dev_ids.tsv", "21\t22\n99\t98\n"),
    ]);
    run(original.path(), &task("mrpc")).unwrap();
    let train = rows(&open(&original, "train"));
    assert_eq!(train.iter().map(|(_, label, row)| (*label, *row)).collect::<Vec<_>>(), [(class(1), 0), (class(1), 2)]);
    assert_eq!(train[0].0, "[CLS] the sea train 11 [SEP] the \" old sea 12 [SEP]");
    let dev = rows(&open(&original, "dev"));
    assert_eq!(dev.iter().map(|(_, label, row)| (*label, *row)).collect::<Vec<_>>(), [(class(0), 1)]);
    assert_eq!(labels(&open(&original, "test")), [class(1), class(0), class(1)]);

    let derived = files(&[
        ("train.tsv", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t11\t12\tthe sea\tthe ships\n"),
        ("test.tsv", "index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t11\t12\tthe sea\tthe ships\n"),
    ]);
    run(derived.path(), &task("mrpc")).unwrap();
    assert_eq!(labels(&open(&derived, "train")), [class(1)]);
    assert_eq!(labels(&open(&derived, "test")), [None]);

    let undivided = files(&[("msr_paraphrase_train.txt", &rows_of("train"))]);
    assert_eq!(run(undivided.path(), &task("mrpc")).unwrap()[0].examples, 3);

    let broken = files(&[("msr_paraphrase_train.txt", &rows_of("train")), ("dev_ids.tsv", "21\t22\n31 32\n")]);
    let error = run(broken.path(), &task("mrpc")).unwrap_err().to_string();
    assert!(error.ends_with("dev_ids.tsv: line 2: expected two ids, found \"31 32\""), "{error}");
}

#[test]
fn a_list_of_ids_that_comes_or_changes_later_does_not_join_what_was_made_before() {
    let row = |label, a, b| format!("{label}\t{a}\t{b}\tthe sea of the sea {a}\tthe old sea {b}\n");
    let content = format!("{MSR}{}{}{}", row(1, 11, 12), row(0, 21, 22), row(1, 31, 32));
    let dir = files(&[("msr_paraphrase_train.txt", &content)]);
    let config = GlueConfig { max_seq_length: 12, ..task("mrpc") };
    let counts = |summaries: Vec<SplitSummary>| -> Vec<_> {
        summaries.iter().map(|s| (s.split, s.examples, s.truncated)).collect()
    };
    let out = dir.path().join("out");
    run(dir.path(), &config).unwrap();
    let refused = |list: &str| {
        std::fs::write(dir.path().join("dev_ids.tsv"), list).unwrap();
        let error = run(dir.path(), &config).unwrap_err().to_string();
        assert!(error.contains("out/train: a finished dataset is here already"), "{error}");
        assert!(!out.join("dev").exists(), "rows of a dev set that are in the train set");
    };
    refused("21\t22\n");

    std::fs::remove_dir_all(&out).unwrap();
    let made = counts(run(dir.path(), &config).unwrap());
    assert_eq!(made, [("train", 2, 2), ("dev", 1, 1)]);
    let sources = |split| {
        let sources = open(&dir, split).manifest().sources.clone();
        sources.into_iter().map(|source| (source.name, source.documents)).collect::<Vec<_>>()
    };
    let expected = |rows| [("msr_paraphrase_train.txt".to_owned(), rows), ("dev_ids.tsv".to_owned(), 0)];
    assert_eq!((sources("train"), sources("dev")), (expected(2).to_vec(), expected(1).to_vec()));

    // What a run leaves that is killed right after it has published the train set.
    let interrupt = || {
        std::fs::remove_dir_all(out.join("dev")).unwrap();
        std::fs::create_dir_all(out.join("train/.building/rank-00000")).unwrap();
    };
    interrupt();
    assert_eq!(counts(run(dir.path(), &config).unwrap()), made);
    assert!(!out.join("train/.building").exists());
    interrupt();
    refused("11\t12\n");
}

const STS: &str = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n";

#[test]
fn sts_b_has_scores() {
    let rows = "0\tnews\tf\t2012\t0001\tnone\tnone\tthe sea\tthe ships\t4.750\n\
                1\tnews\tf\t2012\t0002\tnone\tnone\tthe whale\tthe \"rope\t0.0\n";
    let dir = files(&[("train.tsv", &format!("{STS}{rows}"))]);
    run(dir.path(), &task("sts-b")).unwrap();
    let train = open(&dir, "train");
    assert_eq!(labels(&train), [Some(Label::Score(4.75)), Some(Label::Score(0.0))]);
    let scores = train.manifest().statistics.scores.unwrap();
    assert_eq!((scores.min, scores.max, scores.mean()), (0.0, 4.75, 2.375));
    for score in ["5.1", "-1", "nan", "", "four"] {
        let content = format!("{STS}0\tnews\tf\t2012\t0001\tnone\tnone\tthe sea\tthe ships\t{score}\n");
        let said = refusal(&task("sts-b"), "dev.tsv", content);
        assert_eq!(said, format!("line 2: expected a score from 0 to 5, found {score:?}"));
    }
}

#[test]
fn rows_of_qqp_that_a_line_break_has_torn_are_left_out_and_counted() {
    let header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n";
    let dir = files(&[
        (
            "train.tsv",
            &format!(
                "{header}7\t1\t2\twhat is the sea\twhat is a sea\t1\n8\t3\t4\twhat is a\nship\twhere\t0\n\
                 9\t5\t6\twhat is it\t\t0\n10\t7\t8\twhat\twhere\t\n11\t7\t8\twhen\twhy\t0\n"
            ),
        ),
        ("test.tsv", "id\tquestion1\tquestion2\n0\twhat\t\n"),
    ]);
    let summaries = run(dir.path(), &task("qqp")).unwrap();
    let counts: Vec<_> = summaries.iter().map(|s| (s.split, s.examples, s.skipped, s.empty)).collect();
    assert_eq!(counts, [("train", 3, 3, 1), ("test", 1, 0, 1)]);
    let expected = [
        ("[CLS] what is the sea [SEP] what is a sea [SEP]", class(1), 0),
        ("[CLS] what is it [SEP] [SEP]", class(0), 3),
        ("[CLS] when [SEP] why [SEP]", class(0), 5),
    ];
    assert_eq!(rows(&open(&dir, "train")), expected.map(|(text, label, row)| (text.to_owned(), label, row)));
    // Nothing may be left out of what is to be predicted.
    let said = refusal(&task("qqp"), "test.tsv", "id\tquestion1\tquestion2\n0\twhat\n");
    assert_eq!(said, "line 2: expected 3 columns (id, question1, question2), found 2");
}

fn mnli_header(num_labels: usize) -> String {
    let mut columns: Vec<String> =
        "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse sentence1_parse sentence2_parse \
         sentence1 sentence2"
            .split_whitespace()
            .map(str::to_owned)
            .collect();
    if num_labels > 0 {
        columns.extend((1..=num_labels).map(|label| format!("label{label}")));
        columns.push("gold_label".to_owned());
    }
    columns.join("\t") + "\n"
}

fn mnli_row(index: usize, labels: &[&str]) -> String {
    let mut fields = vec![index.to_string(), "1".into(), "1e".into(), "fiction".into()];
    fields.extend(["( a )", "( b )", "(ROOT a)", "(ROOT b)", "the sea is old", "the ships"].map(str::to_owned));
    fields.extend(labels.iter().map(|&label| label.to_owned()));
    fields.join("\t") + "\n"
}

#[test]
fn mnli_has_two_development_and_two_test_sets() {
    let votes = ["neutral"; 5];
    let dev = |gold: &str| mnli_row(0, &[&votes[..], &[gold]].concat());
    let train = mnli_row(0, &["neutral", "neutral"]) + &mnli_row(1, &["entailment", "entailment"]);
    let dir = files(&[
        ("train.tsv", &(mnli_header(1) + &train)),
        ("dev_matched.tsv", &(mnli_header(5) + &dev("contradiction") + &dev("-"))),
        ("dev_mismatched.tsv", &(mnli_header(5) + &dev("entailment"))),
        ("test_matched.tsv", &(mnli_header(0) + &mnli_row(0, &[]))),
        ("test_mismatched.tsv", &(mnli_header(0) + &mnli_row(0, &[]) + &mnli_row(1, &[]))),
    ]);
    let summaries = run(dir.path(), &task("mnli")).unwrap();
    let counts: Vec<_> = summaries.iter().map(|s| (s.split, s.examples, s.skipped)).collect();
    let expected = [
        ("train", 2, 0),
        ("dev_matched", 1, 1),
        ("dev_mismatched", 1, 0),
        ("test_matched", 1, 0),
        ("test_mismatched", 2, 0),
    ];
    assert_eq!(counts, expected);
    assert_eq!(labels(&open(&dir, "train")), [class(2), class(1)]);
    assert_eq!(labels(&open(&dir, "dev_matched")), [class(0)]);
    let description = GlueTask::of(open(&dir, "test_mismatched").manifest());
    assert_eq!(description.labels, ["contradiction", "entailment", "neutral"]);
    assert_eq!(description.submission.as_deref(), Some("MNLI-mm.tsv"));
}

#[test]
fn the_inference_tasks_have_their_columns_and_labels() {
    let pair = "index\tsentence1\tsentence2\tlabel\n";
    let dir = files(&[("train.tsv", &format!("{pair}0\tthe sea\tthe ships\tnot_entailment\n"))]);
    run(dir.path(), &task("rte")).unwrap();
    assert_eq!(labels(&open(&dir, "train")), [class(1)]);

    let dir = files(&[("dev.tsv", &format!("{pair}0\tthe sea\tthe ships\t1\n"))]);
    run(dir.path(), &task("wnli")).unwrap();
    assert_eq!(labels(&open(&dir, "dev")), [class(1)]);

    let dir = files(&[("train.tsv", "index\tquestion\tsentence\tlabel\n0\twhat\tthe sea\tentailment\n")]);
    run(dir.path(), &task("qnli")).unwrap();
    let train = open(&dir, "train");
    assert_eq!(rows(&train), [("[CLS] what [SEP] the sea [SEP]".to_owned(), class(0), 0)]);
    assert_eq!(train.glue_row(0).unwrap().segment_a_length, 6);

    let full =
        "Lexical Semantics\tPredicate-Argument Structure\tLogic\tKnowledge\tDomain\tPremise\tHypothesis\tLabel\n";
    let dir = files(&[
        ("diagnostic.tsv", "index\tsentence1\tsentence2\n0\tthe sea\tthe ships\n"),
        ("diagnostic-full.tsv", &format!("{full}\t\tNegation\t\tNews\tthe sea\tno sea\tcontradiction\n")),
    ]);
    run(dir.path(), &task("ax")).unwrap();
    assert_eq!(labels(&open(&dir, "test")), [None]);
    assert_eq!(labels(&open(&dir, "diagnostic")), [class(0)]);
}

#[test]
fn a_pair_loses_tokens_from_its_longer_sentence_first() {
    let pair = "index\tsentence1\tsentence2\tlabel\n";
    let dir = files(&[("train.tsv", &format!("{pair}0\tthe sea of the sea of the\tthe whale\tentailment\n"))]);
    let config = GlueConfig { max_seq_length: 8, ..task("rte") };
    assert_eq!(run(dir.path(), &config).unwrap()[0].truncated, 1);
    assert_eq!(rows(&open(&dir, "train"))[0].0, "[CLS] the sea of [SEP] the whale [SEP]");
    let tiny = GlueConfig { max_seq_length: 4, ..task("rte") };
    let error = run(dir.path(), &tiny).unwrap_err().to_string();
    assert!(error.ends_with("expected a max_seq_length of at least 5, found 4"), "{error}");
}
