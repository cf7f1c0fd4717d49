//! Reading everything: is the dataset whole, and is what it says of itself true?

mod questions;
mod report;
mod rows;

use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use cloze_formats::config::{InstanceConfig, Split};
use cloze_formats::dataset::{EXAMPLES, VOCABULARY, short, verify_file};
use cloze_formats::manifest::{Kind, MANIFEST, Manifest, ShardEntry, Source};
use cloze_formats::shard::Shard;
use cloze_formats::statistics::Statistics;
use cloze_formats::{ErrorKind, Vocabulary};
use rayon::prelude::*;

pub use report::{Damage, Report};

use crate::Result;
use crate::build::{CORPUS_FORMAT, HELD_OUT};
use crate::progress::{Bar, Progress};
pub(crate) use questions::Questions;
use report::NAMED_PER_SHARD;
use rows::{BatchReport, Promises};

/// Reads every byte of the dataset in `dir` and of its held-out part: checksums, invariants of each row, what the configuration
/// promises of rows, statistics counted anew, side files. Everything is read, however much is damaged.
///
/// Record batches are checked on all threads, each in one pass over the mapped file.
///
/// # Errors
/// There is no dataset to verify. Damage is not an error but the report.
pub fn verify(dir: &Path, progress: Progress) -> Result<Report> {
    let started = Instant::now();
    let mut report = Report { dataset: dir.display().to_string(), ..Report::default() };
    let manifest = match Manifest::read(dir) {
        Ok(manifest) => manifest,
        Err(e) => match e.kind() {
            ErrorKind::ManifestSyntax(_) | ErrorKind::ManifestChecksum { .. } => {
                report.push(&e);
                return Ok(report);
            }
            _ => return Err(e),
        },
    };
    report.num_shards = manifest.shards.len();
    report.bytes = manifest.num_bytes();
    let side_files_whole = check_side_files(dir, &manifest, &mut report);
    let questions = if manifest.kind == Kind::Squad && side_files_whole {
        match Questions::read(&dir.join(EXAMPLES)) {
            Ok(questions) => Some(questions),
            Err(e) => {
                report.push(&e);
                None
            }
        }
    } else {
        None
    };
    let bar = Mutex::new(progress.bytes("verifying", report.bytes));
    let statistics = check_shards(dir, &manifest, &Promises::of(&manifest, questions.as_ref()), &bar, &mut report);
    drop(bar);
    if let Some(statistics) = statistics {
        let problems = rows::compare_statistics(&manifest.statistics, &statistics).into_iter();
        let masks = if is_built(&manifest) { rows::implausible_masks(&statistics) } else { None };
        for problem in problems.chain(masks) {
            report.push_problem(dir.join(MANIFEST).display().to_string(), problem);
        }
    }
    report.seconds = started.elapsed().as_secs_f64();
    let held_out = dir.join(HELD_OUT);
    if manifest.kind == Kind::Pretrain && held_out.join(MANIFEST).exists() {
        report.held_out = Some(Box::new(verify(&held_out, progress)?));
    } else if let Some(share) = held_out_share(&manifest) {
        let problem =
            format!("expected the part held out (held_out {share}), found none; restore it or rebuild the dataset");
        report.push_problem(held_out.join(MANIFEST).display().to_string(), problem);
    }
    Ok(report)
}

/// Whether `build` made it, from a corpus: it keeps promises that the format does not ask of other writers and of imports.
fn is_built(manifest: &Manifest) -> bool {
    let of_a_corpus = |source: &Source| source.format == CORPUS_FORMAT;
    manifest.kind == Kind::Pretrain
        && manifest.writer.starts_with("cloze-prep ")
        && manifest.sources.first().is_some_and(of_a_corpus)
}

/// The share of the documents that `build` has put into a held-out part beside this one.
fn held_out_share(manifest: &Manifest) -> Option<f64> {
    let config: InstanceConfig = serde_json::from_value(manifest.configuration.clone()).ok()?;
    (is_built(manifest) && config.split == Split::Train && config.held_out > 0.0).then_some(config.held_out)
}

/// Checks all shards; returns the recount, unless something could not be counted.
fn check_shards(
    dir: &Path,
    manifest: &Manifest,
    promises: &Promises<'_>,
    bar: &Mutex<Bar>,
    report: &mut Report,
) -> Option<Statistics> {
    let open = |entry: &ShardEntry| Shard::open(dir.join(&entry.file), entry, manifest.columns, &manifest.vocabulary);
    let shards: Vec<Result<Shard>> = manifest.shards.par_iter().map(open).collect();
    let units: Vec<(usize, usize)> = manifest.shards.iter().enumerate().flat_map(batches_of).collect();
    let checked: Vec<Result<BatchReport>> = units
        .par_iter()
        .map(|&(shard, batch)| {
            let found = match &shards[shard] {
                Ok(open) => promises.check_batch(open, batch),
                // Reported once, below.
                Err(_) => Ok(BatchReport::default()),
            };
            bar.lock().expect("no holder panics").add(manifest.shards[shard].batches[batch].bytes);
            found
        })
        .collect();
    let mut checked = checked.into_iter();
    let mut statistics = Some(Statistics::default());
    let mut first_row = 0;
    for (entry, shard) in manifest.shards.iter().zip(&shards) {
        let batches: Vec<_> = checked.by_ref().take(entry.batches.len()).collect();
        if let Err(e) = shard {
            report.push(e);
            statistics = None;
        }
        let counted = report_shard(dir, entry, first_row, batches, report);
        statistics = statistics.zip(counted).map(|(mut all, of_shard)| {
            all.merge(&of_shard);
            all
        });
        first_row += entry.rows;
    }
    let order = promises.check_order(&shards);
    for (shard, row, problem) in order.rows {
        let first_row = manifest.shards[..shard].iter().map(|entry| entry.rows).sum::<u64>();
        let file = dir.join(&manifest.shards[shard].file).display().to_string();
        report.damage.push(Damage { file, row: Some(row), dataset_row: Some(first_row + row), problem });
        report.num_problems += 1;
    }
    if let Some(problem) = order.unasked {
        report.push_problem(dir.join(EXAMPLES).display().to_string(), problem);
    }
    statistics
}

fn batches_of((shard, entry): (usize, &ShardEntry)) -> impl Iterator<Item = (usize, usize)> {
    (0..entry.batches.len()).map(move |batch| (shard, batch))
}

/// Takes the findings of one shard's batches into the report; returns the counts where every batch could be read.
fn report_shard(
    dir: &Path,
    entry: &ShardEntry,
    first_row: u64,
    batches: Vec<Result<BatchReport>>,
    report: &mut Report,
) -> Option<Statistics> {
    let file = dir.join(&entry.file).display().to_string();
    let mut statistics = Some(Statistics::default());
    let mut named = 0;
    for batch in batches {
        match batch {
            Ok(batch) => {
                report.rows += batch.statistics.rows;
                if let Some(all) = &mut statistics {
                    all.merge(&batch.statistics);
                }
                report.num_problems += batch.num_damaged;
                let wanted = batch.damaged.into_iter().take(NAMED_PER_SHARD - named);
                let rows = wanted.map(|(row, problem)| Damage {
                    file: file.clone(),
                    row: Some(row),
                    dataset_row: Some(first_row + row),
                    problem,
                });
                let before = report.damage.len();
                report.damage.extend(rows);
                named += report.damage.len() - before;
            }
            Err(e) => {
                report.push(&e);
                statistics = None;
            }
        }
    }
    if let Some(found) = statistics.as_ref().filter(|found| found.rows > 0 && found.tokens != entry.tokens) {
        let problem =
            format!("manifest promises {} tokens, shard holds {}; rebuild the dataset", entry.tokens, found.tokens);
        report.push_problem(file, problem);
    }
    statistics
}

/// One line for each damaged side file; whether all are whole.
fn check_side_files(dir: &Path, manifest: &Manifest, report: &mut Report) -> bool {
    let before = report.num_problems;
    let mut vocabulary_whole = true;
    for file in &manifest.files {
        if let Err(e) = verify_file(dir, file) {
            vocabulary_whole &= file.file != VOCABULARY;
            report.push(&e);
        }
    }
    // What is wrong with a file that is not the one it was would only be said twice.
    if vocabulary_whole && let Err(e) = check_vocabulary(dir, manifest) {
        report.push(&e);
    }
    if manifest.kind == Kind::Squad && !manifest.files.iter().any(|file| file.file == EXAMPLES) {
        let problem = format!("expected {EXAMPLES} among the files, found none; rebuild the dataset");
        report.push_problem(dir.join(MANIFEST).display().to_string(), problem);
    }
    report.num_problems == before
}

fn check_vocabulary(dir: &Path, manifest: &Manifest) -> Result<()> {
    let path = dir.join(VOCABULARY);
    let found = Vocabulary::read(&path)?;
    let expected = &manifest.vocabulary;
    let same = found.sha256() == expected.sha256
        && found.len() == expected.num_tokens as usize
        && found.special() == expected.special;
    if same {
        return Ok(());
    }
    let problem = format!(
        "expected the manifest's vocabulary of {} tokens, sha256 {}, found {} tokens, sha256 {}; rebuild the dataset",
        expected.num_tokens,
        short(&expected.sha256),
        found.len(),
        short(found.sha256())
    );
    Err(crate::Error::invalid(path, problem))
}
