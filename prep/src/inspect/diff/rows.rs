//! The first row that differs, found in parallel.

use std::collections::HashMap;
use std::ops::Range;

use cloze_formats::checksum::Crc32c;
use cloze_formats::row::Row;
use cloze_formats::{Dataset, Manifest};
use rayon::prelude::*;

use super::{RowDifference, RowsComparison};
use crate::Result;
use crate::inspect::reading::{Reader, token};
use crate::inspect::show::{examples, json};
use crate::progress::Progress;

const ROWS_AT_ONCE: usize = 8_192;

pub(super) fn compare(a: &Dataset, b: &Dataset, progress: Progress) -> Result<RowsComparison> {
    let num_rows = (a.len(), b.len());
    let compared = a.manifest().kind == b.manifest().kind;
    let mut comparison = RowsComparison { num_rows, compared, batches_equal_by_checksum: 0, first_difference: None };
    if !compared {
        return Ok(comparison);
    }
    let same_vocabulary = a.vocabulary().sha256() == b.vocabulary().sha256();
    let common = a.len().min(b.len());
    let same = if same_vocabulary { same_batches(a.manifest(), b.manifest()) } else { HashMap::new() };
    let mut bar = progress.rows("comparing", common, a.manifest().num_bytes().min(b.manifest().num_bytes()));
    let mut units = Vec::new();
    for batch in a.batches() {
        if same.contains_key(&(batch.start, batch.end)) {
            comparison.batches_equal_by_checksum += 1;
            bar.add(batch.end - batch.start);
            continue;
        }
        let end = batch.end.min(common);
        units.extend(
            (batch.start..end).step_by(ROWS_AT_ONCE).map(|start| start..(start + ROWS_AT_ONCE as u64).min(end)),
        );
    }
    let mut different = None;
    for group in units.chunks(4 * rayon::current_num_threads()) {
        let found: Result<Vec<Option<u64>>> =
            group.par_iter().map(|unit| first_of(a, b, unit.clone(), same_vocabulary)).collect();
        different = found?.into_iter().flatten().next();
        if different.is_some() {
            break;
        }
        bar.add(group.iter().map(|unit| unit.end - unit.start).sum());
    }
    // Equal as far as both go: the first row that only one of them has.
    let different = different.or((num_rows.0 != num_rows.1).then_some(common));
    comparison.first_difference = different.map(|row| describe(a, b, row)).transpose()?;
    Ok(comparison)
}

/// Record batches of the same rows and the same bytes in both, by first and last row.
fn same_batches(a: &Manifest, b: &Manifest) -> HashMap<(u64, u64), Crc32c> {
    let mut same = checksums(a);
    let others = checksums(b);
    same.retain(|rows, crc| a.columns == b.columns && others.get(rows) == Some(crc));
    same
}

fn checksums(manifest: &Manifest) -> HashMap<(u64, u64), Crc32c> {
    let mut start = 0;
    let batches = manifest.shards.iter().flat_map(|shard| &shard.batches);
    batches
        .map(|batch| {
            let rows = (start, start + batch.rows);
            start = rows.1;
            (rows, batch.crc32c)
        })
        .collect()
}

/// The first row among `rows` that differs.
fn first_of(a: &Dataset, b: &Dataset, mut rows: Range<u64>, same_vocabulary: bool) -> Result<Option<u64>> {
    rows.try_fold(None, |found, row| match found {
        None => Ok((!same_row(a, b, row, same_vocabulary)?).then_some(row)),
        found => Ok(found),
    })
}

fn same_row(a: &Dataset, b: &Dataset, row: u64, same_vocabulary: bool) -> Result<bool> {
    let (left, right) = (a.row(row)?, b.row(row)?);
    if same_vocabulary {
        return Ok(left == right);
    }
    // Ids of different vocabularies cannot be compared, what they stand for can.
    Ok(first_token(a, &left, b, &right).is_none() && without_ids(&left) == without_ids(&right))
}

/// All that a row holds besides ids, in one string.
fn without_ids(row: &Row<'_>) -> String {
    match row {
        Row::Corpus(r) => format!("{} {:?}", r.document_id, r.sentence_lengths),
        Row::Pretrain(r) => {
            let positions = r.masked.map(|masked| masked.positions);
            format!("{} {} {positions:?}", r.segment_a_length, r.next_sentence_label)
        }
        Row::Squad(r) => format!(
            "{} {} {} {} {} {} {:?} {:?} {:?}",
            r.segment_a_length,
            r.start_position,
            r.end_position,
            r.is_impossible,
            r.example_id,
            r.window,
            r.context_starts,
            r.context_ends,
            r.max_context
        ),
        Row::Glue(r) => format!("{} {} {:?}", r.segment_a_length, r.row_id, r.label),
    }
}

/// Position of the first token that differs.
fn first_token(a: &Dataset, left: &Row<'_>, b: &Dataset, right: &Row<'_>) -> Option<u64> {
    let text = |dataset: &Dataset, row: &Row<'_>| -> Vec<String> {
        row.tokens().iter().map(|id| token(dataset.vocabulary(), id)).collect()
    };
    let (left, right) = (text(a, left), text(b, right));
    let differs = left.iter().zip(&right).position(|(left, right)| left != right);
    let longer = (left.len() != right.len()).then_some(left.len().min(right.len()));
    differs.or(longer).map(|at| at as u64)
}

fn describe(a: &Dataset, b: &Dataset, row: u64) -> Result<RowDifference> {
    let side = |dataset: &Dataset| -> Result<_> {
        if row >= dataset.len() {
            return Ok((None, None));
        }
        let mut reader = Reader::new(dataset, (0, 0))?.with_examples(examples(dataset, &[row])?);
        let content = dataset.row(row)?;
        Ok((Some(json(&mut reader, row, &content)), Some(reader.read(row, &content))))
    };
    let ((a_json, a_reading), (b_json, b_reading)) = (side(a)?, side(b)?);
    let token = if row < a.len() && row < b.len() { first_token(a, &a.row(row)?, b, &b.row(row)?) } else { None };
    Ok(RowDifference { row, token, a: a_json, b: b_json, readings: (a_reading, b_reading) })
}
