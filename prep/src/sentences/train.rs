//! Training: text to parameters.
//!
//! The text is read twice: how often words occur tells abbreviations, and only when these are known, pairs of words tell the
//! rest. All that is kept are counts and sets, so the order in which documents are counted does not matter.

use std::path::Path;

use rayon::prelude::*;
use serde::Serialize;

use super::Parameters;
use super::boundary::Index;
use super::statistics::{Evidence, Frequencies};
use super::token::Token;
use super::words::Words;
use crate::progress::Progress;
use crate::sources::{Document, RawDocument, ReadOptions, STANDARD_INPUT, SourceFile, for_each_batch, stored_bytes};
use crate::tokenize::{WRITER, describe_input};
use crate::{Error, Result};

/// What was learned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrainSummary {
    /// Documents read.
    pub documents: u64,
    /// Punkt's words, numbers and punctuation marks in them.
    pub num_words: u64,
    /// Abbreviations found.
    pub abbreviations: usize,
    /// Collocations found.
    pub collocations: usize,
    /// Frequent sentence starters found.
    pub sentence_starters: usize,
    /// Words whose case is known.
    pub orthography: usize,
    /// Broken rows, which were left out.
    pub skipped_rows: u64,
    /// File, line and problem of the first few of them.
    pub broken_rows: Vec<String>,
}

/// Learns the parameters of a language from `sources` and publishes them as a parameter file at `out`.
///
/// Every paragraph counts as the beginning of a sentence, as in text with blank lines between paragraphs. The bytes do not
/// depend on the number of threads (rayon's current pool).
///
/// # Memory usage
/// Every different word of the text is held.
///
/// # Errors
/// Standard input, which cannot be read twice, a source that cannot be read, no words in any of them, something at `out` already, or an output that cannot be written.
pub fn train(sources: &[SourceFile], reading: &ReadOptions, out: &Path, progress: &Progress) -> Result<TrainSummary> {
    if sources.iter().any(|source| source.path == Path::new(STANDARD_INPUT)) {
        let problem = "expected files, which can be read twice, found standard input; write it to a file first";
        return Err(Error::invalid(STANDARD_INPUT, problem));
    }
    // Corpora are tied to parameters by their hash: replacing a file would orphan them.
    if out.exists() {
        return Err(Error::invalid(out, "there is something here already; delete it or choose another name"));
    }
    let mut comments = vec![String::new()];
    let mut bar = progress.bytes("hashing sources", stored_bytes(sources));
    for source in sources {
        let input = describe_input(&source.path, &source.kind.to_string(), |bytes| bar.add(bytes))?;
        comments.push(format!("{} ({}), {} bytes, sha256 {}", input.name, input.format, input.bytes, input.sha256));
    }
    drop(bar);
    let (parameters, summary) = learn(sources, reading, progress)?;
    if summary.num_words == 0 {
        return Err(Error::invalid(out, "expected text to learn from, found no word in the sources"));
    }
    comments[0] = format!("Trained by {WRITER} on {} words of {} documents:", summary.num_words, summary.documents);
    cloze_formats::durable::write(out, parameters.to_text(&comments).as_bytes())?;
    Ok(summary)
}

fn learn(sources: &[SourceFile], reading: &ReadOptions, progress: &Progress) -> Result<(Parameters, TrainSummary)> {
    let (mut frequencies, mut num_documents) = (Frequencies::default(), 0);
    let bar = |what| progress.bytes(what, stored_bytes(sources));
    let broken = for_each_batch(sources, reading, bar("counting words"), |batch| {
        let batch = extract(batch);
        num_documents += batch.len() as u64;
        let paragraphs = batch.par_iter().flat_map_iter(|document| &document.paragraphs);
        let counted = paragraphs.fold(Frequencies::default, |mut counts, paragraph| {
            counts.add_paragraph(paragraph);
            counts
        });
        frequencies = std::mem::take(&mut frequencies).merge(counted.reduce(Frequencies::default, Frequencies::merge));
    })?;
    let abbreviations = frequencies.abbreviations();
    let known = Parameters { abbreviations: abbreviations.clone(), ..Parameters::default() };
    let (index, mut evidence) = (Index::from(&known), Evidence::default());
    let mut last_paragraph: Option<String> = None;
    for_each_batch(sources, reading, bar("weighing evidence"), |batch| {
        let batch = extract(batch);
        let paragraphs = batch.iter().flat_map(|document| &document.paragraphs).map(String::as_str);
        let paragraphs: Vec<&str> = paragraphs.filter(|text| Words::new(text).next().is_some()).collect();
        let found = paragraphs.par_iter().enumerate().fold(Evidence::default, |mut evidence, (i, paragraph)| {
            let before = i.checked_sub(1).map(|i| paragraphs[i]).or(last_paragraph.as_deref());
            let last = before.and_then(|text| Words::new(text).last()).map(|text| Token { text });
            evidence.add_paragraph(paragraph, last.map(|token| (token, index.mark(token))), &index, &frequencies);
            evidence
        });
        evidence = std::mem::take(&mut evidence).merge(found.reduce(Evidence::default, Evidence::merge));
        last_paragraph = paragraphs.last().map(|text| (*text).to_owned()).or(last_paragraph.take());
    })?;
    let parameters = evidence.parameters(abbreviations, &frequencies);
    let summary = TrainSummary {
        documents: num_documents,
        num_words: frequencies.num_words(),
        abbreviations: parameters.abbreviations.len(),
        collocations: parameters.collocations.len(),
        sentence_starters: parameters.sentence_starters.len(),
        orthography: parameters.orthography.len(),
        skipped_rows: broken.count,
        broken_rows: broken.described,
    };
    Ok((parameters, summary))
}

fn extract(batch: Vec<RawDocument>) -> Vec<Document> {
    batch.into_par_iter().map(RawDocument::into_document).collect()
}
