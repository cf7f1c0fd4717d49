//! GLUE's tasks as one table: files, columns, labels, metrics.
//!
//! Source: the files that GLUE's `download_glue_data.py` leaves, and the benchmark's page for metrics and submissions. Classes
//! are numbered as BERT's `run_classifier.py` and Hugging Face's processors for these files do.

use cloze_formats::finetune::Metric;

use crate::{Error, Result};

/// A task: what its files look like and how it is scored.
#[derive(Debug)]
pub struct Task {
    /// Name on the command line and in manifests.
    pub name: &'static str,
    /// What its labels are.
    pub(super) labels: Labels,
    /// How it is scored.
    pub(super) metrics: &'static [Metric],
    /// Rows that its official files have although nothing can be learned from them.
    pub(super) skipped: Skipped,
    /// What can be made, in order.
    pub(super) splits: &'static [Split],
}

/// What labels are.
#[derive(Debug)]
pub(super) enum Labels {
    /// As the files have them, and what they mean; the class is the position.
    Classes(&'static [(&'static str, &'static str)]),
    /// A number.
    Score { min: f32, max: f32 },
}

/// Which rows are counted and left out; any other malformed row is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skipped {
    None,
    /// Labelled rows of too few columns, or without a label: a line break inside a question made two rows of one.
    Broken,
    /// Rows with this in place of a label.
    Label(&'static str),
}

/// A dataset to make, from the first of `files` that is there.
#[derive(Debug)]
pub(super) struct Split {
    pub(super) name: &'static str,
    pub(super) files: &'static [File],
    /// Name of the file that GLUE's server takes predictions in.
    pub(super) submission: Option<&'static str>,
}

/// A file and its columns.
#[derive(Debug)]
pub(super) struct File {
    pub(super) name: &'static str,
    /// Names of the columns where the file has no header.
    pub(super) without_header: Option<&'static [&'static str]>,
    /// One or two columns.
    pub(super) sentences: &'static [&'static str],
    pub(super) label: Option<&'static str>,
    /// Numbers the rows from 0; predictions are told apart by it.
    pub(super) index: Option<&'static str>,
    pub(super) rows: Rows,
}

/// Which rows of a file are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    All,
    /// MRPC as its authors give it: the development set is those pairs of ids that `dev_ids.tsv` lists.
    Listed,
    /// All others; all if there is no `dev_ids.tsv`.
    NotListed,
}

/// The list of MRPC's development set: two ids a line.
pub(super) const DEV_IDS: &str = "dev_ids.tsv";

const fn labelled(name: &'static str, sentences: &'static [&'static str], label: &'static str) -> File {
    File { name, without_header: None, sentences, label: Some(label), index: None, rows: Rows::All }
}

const fn unlabelled(name: &'static str, sentences: &'static [&'static str], index: &'static str) -> File {
    File { name, without_header: None, sentences, label: None, index: Some(index), rows: Rows::All }
}

const fn split(name: &'static str, files: &'static [File]) -> Split {
    Split { name, files, submission: None }
}

const fn test(name: &'static str, files: &'static [File], submission: &'static str) -> Split {
    Split { name, files, submission: Some(submission) }
}

const COLA: &[&str] = &["source", "label", "star", "sentence"];
const PAIR: &[&str] = &["sentence1", "sentence2"];
const STRINGS: &[&str] = &["#1 String", "#2 String"];
const QUESTIONS: &[&str] = &["question1", "question2"];
const ANSWER: &[&str] = &["question", "sentence"];

const TWO_WAY: Labels = Labels::Classes(&[("entailment", "entailment"), ("not_entailment", "not_entailment")]);
const THREE_WAY: Labels =
    Labels::Classes(&[("contradiction", "contradiction"), ("entailment", "entailment"), ("neutral", "neutral")]);

/// The nine tasks of GLUE and its diagnostic set.
pub const TASKS: &[Task] = &[
    Task {
        name: "cola",
        labels: Labels::Classes(&[("0", "unacceptable"), ("1", "acceptable")]),
        metrics: &[Metric::Mcc],
        skipped: Skipped::None,
        splits: &[
            split("train", &[File { without_header: Some(COLA), ..labelled("train.tsv", &["sentence"], "label") }]),
            split("dev", &[File { without_header: Some(COLA), ..labelled("dev.tsv", &["sentence"], "label") }]),
            test("test", &[unlabelled("test.tsv", &["sentence"], "index")], "CoLA.tsv"),
        ],
    },
    Task {
        name: "sst-2",
        labels: Labels::Classes(&[("0", "negative"), ("1", "positive")]),
        metrics: &[Metric::Accuracy],
        skipped: Skipped::None,
        splits: &[
            split("train", &[labelled("train.tsv", &["sentence"], "label")]),
            split("dev", &[labelled("dev.tsv", &["sentence"], "label")]),
            test("test", &[unlabelled("test.tsv", &["sentence"], "index")], "SST-2.tsv"),
        ],
    },
    Task {
        name: "mrpc",
        labels: Labels::Classes(&[("0", "not_equivalent"), ("1", "equivalent")]),
        metrics: &[Metric::Accuracy, Metric::F1],
        skipped: Skipped::None,
        splits: &[
            split(
                "train",
                &[
                    labelled("train.tsv", STRINGS, "Quality"),
                    File { rows: Rows::NotListed, ..labelled("msr_paraphrase_train.txt", STRINGS, "Quality") },
                ],
            ),
            split(
                "dev",
                &[
                    labelled("dev.tsv", STRINGS, "Quality"),
                    File { rows: Rows::Listed, ..labelled("msr_paraphrase_train.txt", STRINGS, "Quality") },
                ],
            ),
            test(
                "test",
                &[unlabelled("test.tsv", STRINGS, "index"), labelled("msr_paraphrase_test.txt", STRINGS, "Quality")],
                "MRPC.tsv",
            ),
        ],
    },
    Task {
        name: "sts-b",
        labels: Labels::Score { min: 0.0, max: 5.0 },
        metrics: &[Metric::Pearson, Metric::Spearman],
        skipped: Skipped::None,
        splits: &[
            split("train", &[labelled("train.tsv", PAIR, "score")]),
            split("dev", &[labelled("dev.tsv", PAIR, "score")]),
            test("test", &[unlabelled("test.tsv", PAIR, "index")], "STS-B.tsv"),
        ],
    },
    Task {
        name: "qqp",
        labels: Labels::Classes(&[("0", "not_duplicate"), ("1", "duplicate")]),
        metrics: &[Metric::Accuracy, Metric::F1],
        skipped: Skipped::Broken,
        splits: &[
            split("train", &[labelled("train.tsv", QUESTIONS, "is_duplicate")]),
            split("dev", &[labelled("dev.tsv", QUESTIONS, "is_duplicate")]),
            test("test", &[unlabelled("test.tsv", QUESTIONS, "id")], "QQP.tsv"),
        ],
    },
    Task {
        name: "mnli",
        labels: THREE_WAY,
        metrics: &[Metric::Accuracy],
        // No majority among the annotators; GLUE's own copy has none of these rows.
        skipped: Skipped::Label("-"),
        splits: &[
            split("train", &[labelled("train.tsv", PAIR, "gold_label")]),
            split("dev_matched", &[labelled("dev_matched.tsv", PAIR, "gold_label")]),
            split("dev_mismatched", &[labelled("dev_mismatched.tsv", PAIR, "gold_label")]),
            test("test_matched", &[unlabelled("test_matched.tsv", PAIR, "index")], "MNLI-m.tsv"),
            test("test_mismatched", &[unlabelled("test_mismatched.tsv", PAIR, "index")], "MNLI-mm.tsv"),
        ],
    },
    Task {
        name: "qnli",
        labels: TWO_WAY,
        metrics: &[Metric::Accuracy],
        skipped: Skipped::None,
        splits: &[
            split("train", &[labelled("train.tsv", ANSWER, "label")]),
            split("dev", &[labelled("dev.tsv", ANSWER, "label")]),
            test("test", &[unlabelled("test.tsv", ANSWER, "index")], "QNLI.tsv"),
        ],
    },
    Task {
        name: "rte",
        labels: TWO_WAY,
        metrics: &[Metric::Accuracy],
        skipped: Skipped::None,
        splits: &[
            split("train", &[labelled("train.tsv", PAIR, "label")]),
            split("dev", &[labelled("dev.tsv", PAIR, "label")]),
            test("test", &[unlabelled("test.tsv", PAIR, "index")], "RTE.tsv"),
        ],
    },
    Task {
        name: "wnli",
        labels: Labels::Classes(&[("0", "not_entailment"), ("1", "entailment")]),
        metrics: &[Metric::Accuracy],
        skipped: Skipped::None,
        splits: &[
            split("train", &[labelled("train.tsv", PAIR, "label")]),
            split("dev", &[labelled("dev.tsv", PAIR, "label")]),
            test("test", &[unlabelled("test.tsv", PAIR, "index")], "WNLI.tsv"),
        ],
    },
    // The diagnostic set is answered by a model of MNLI.
    Task {
        name: "ax",
        labels: THREE_WAY,
        metrics: &[Metric::Mcc],
        skipped: Skipped::None,
        splits: &[
            test("test", &[unlabelled("diagnostic.tsv", PAIR, "index")], "AX.tsv"),
            split("diagnostic", &[labelled("diagnostic-full.tsv", &["Premise", "Hypothesis"], "Label")]),
        ],
    },
];

impl Task {
    /// The task called `name`, in any case, with or without hyphen.
    ///
    /// # Errors
    /// There is none; the error names all.
    pub fn find(name: &str) -> Result<&'static Self> {
        let plain = |name: &str| name.to_ascii_lowercase().replace(['-', '_'], "");
        TASKS.iter().find(|task| plain(task.name) == plain(name)).ok_or_else(|| {
            let known: Vec<_> = TASKS.iter().map(|task| task.name).collect();
            Error::invalid(name, format!("expected a GLUE task ({}), found another", known.join(", ")))
        })
    }

    /// Sentences of an example: 1 or 2.
    pub(super) fn num_sentences(&self) -> usize {
        self.splits[0].files[0].sentences.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_with_or_without_hyphen() {
        for (given, name) in [("STSB", "sts-b"), ("sst_2", "sst-2"), ("MNLI", "mnli"), ("AX", "ax")] {
            assert_eq!(Task::find(given).unwrap().name, name);
        }
        let expected =
            "snli: expected a GLUE task (cola, sst-2, mrpc, sts-b, qqp, mnli, qnli, rte, wnli, ax), found another";
        assert_eq!(Task::find("snli").unwrap_err().to_string(), expected);
    }

    #[test]
    fn every_file_of_a_task_has_as_many_sentences() {
        for task in TASKS {
            for file in task.splits.iter().flat_map(|split| split.files) {
                assert_eq!(file.sentences.len(), task.num_sentences(), "{} {}", task.name, file.name);
            }
        }
    }
}
