//! Datasets written, read, resumed and damaged.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::*;
use crate::manifest::VocabularyInfo;
use crate::row::{Label, StaticMask};
use crate::schema::{LabelType, Layout};

pub(crate) fn vocabulary() -> Vocabulary {
    let mut text = String::from("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
    (5..200).for_each(|i| text.push_str(&format!("{}w{i}\n", if i % 3 == 2 { "##" } else { "" })));
    Vocabulary::from_bytes("vocab.txt", text.into_bytes()).unwrap()
}

pub(super) fn spec(kind: Kind, optional: bool) -> DatasetSpec {
    let vocabulary = vocabulary();
    DatasetSpec {
        writer: "test".to_owned(),
        kind,
        layout: Layout::new(kind, vocabulary.len(), optional),
        vocabulary: VocabularyInfo::new(&vocabulary, false),
        configuration: json!({"seed": 1}),
        inputs: json!(null),
    }
}

fn instance(i: u64) -> (Vec<u32>, u16) {
    let (a, b) = (3 + i % 7, 2 + i % 11);
    let mut ids = vec![2];
    ids.extend((0..a).map(|j| (5 + (i + j) % 190) as u32));
    ids.push(3);
    ids.extend((0..b).map(|j| (5 + (3 * i + j) % 190) as u32));
    ids.push(3);
    (ids, a as u16 + 2)
}

/// A pretrain dataset of `rows` instances in two shards.
pub(crate) fn pretrain_dataset(rows: u64, masked: bool) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let writer = DatasetWriter::create(dir.path(), spec(Kind::Pretrain, masked), &vocabulary()).unwrap();
    for index in 0..2 {
        write_shard(&writer, index, rows, masked);
    }
    writer.publish(Vec::new()).unwrap();
    dir
}

fn write_shard(writer: &DatasetWriter, index: u32, rows: u64, masked: bool) {
    write_shard_as(writer, index.into(), index, rows, masked);
}

/// Writes one half of `rows` instances as shard `id`.
fn write_shard_as(writer: &DatasetWriter, id: ShardId, half: u32, rows: u64, masked: bool) {
    let mut shard = writer.shard(id).unwrap();
    for i in (0..rows).filter(|i| i * 2 / rows == u64::from(half)) {
        let (ids, segment_a_length) = instance(i);
        let inputs = [4u32];
        let masked = masked.then_some(StaticMask { positions: &[1], inputs: inputs[..].into() });
        let row = PretrainRow { input_ids: (&ids).into(), segment_a_length, next_sentence_label: i % 2 == 0, masked };
        shard.push(row).unwrap();
    }
    writer.finish_shard(id, shard, json!(half)).unwrap();
}

#[test]
fn rows_come_back_as_they_were_written() {
    let dir = pretrain_dataset(1_001, true);
    let dataset = Dataset::open(dir.path()).unwrap();
    assert_eq!((dataset.len(), dataset.manifest().num_rows()), (1_001, 1_001));
    for i in 0..1_001 {
        let row = dataset.pretrain_row(i).unwrap();
        let (ids, segment_a_length) = instance(i);
        assert_eq!(
            (row.input_ids.to_vec(), row.segment_a_length, row.next_sentence_label),
            (ids, segment_a_length, i % 2 == 0)
        );
        assert_eq!(dataset.row_length(i).unwrap(), row.input_ids.len());
        assert_eq!(row.masked.unwrap().inputs.to_vec(), [4]);
    }
    let mut statistics = Statistics::default();
    for entry in &dataset.manifest().shards {
        statistics.merge(&verify_shard(dir.path(), dataset.manifest(), entry).unwrap());
    }
    assert_eq!(statistics, dataset.manifest().statistics);
}

#[test]
fn special_tokens_inside_text_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let writer = DatasetWriter::create(dir.path(), spec(Kind::Glue, true), &vocabulary()).unwrap();
    let mut shard = writer.shard(0).unwrap();
    let mut refusal = |ids: &[u32], segment_a_length| {
        let row = GlueRow { input_ids: ids.into(), segment_a_length, label: Some(Label::Class(1)), row_id: 0 };
        shard.push(row).unwrap_err().to_string()
    };
    for (id, name) in [(0, "[PAD]"), (2, "[CLS]"), (3, "[SEP]"), (4, "[MASK]")] {
        let expected = format!("row 0: expected no special token inside the text, found {name} at position 2");
        assert!(refusal(&[2, 6, id, 3], 4).ends_with(&expected), "{name} in a single sentence");
        assert!(refusal(&[2, 6, id, 3, 7, 3], 4).ends_with(&expected), "{name} in a pair");
    }
}

#[test]
fn rows_span_several_record_batches() {
    let dir = tempfile::tempdir().unwrap();
    let writer = DatasetWriter::create(dir.path(), spec(Kind::Glue, true), &vocabulary()).unwrap();
    let mut shard = writer.shard(0).unwrap();
    let rows = crate::shard::BATCH_ROWS as u64 + 5;
    for row_id in 0..rows {
        let ids = [2u32, 5 + (row_id % 100) as u32, 3];
        shard
            .push(GlueRow { input_ids: ids[..].into(), segment_a_length: 3, label: Some(Label::Class(1)), row_id })
            .unwrap();
    }
    writer.finish_shard(0, shard, json!(null)).unwrap();
    let manifest = writer.publish(Vec::new()).unwrap();
    assert_eq!(manifest.shards[0].batches.len(), 2);
    let dataset = Dataset::open(dir.path()).unwrap();
    assert_eq!(dataset.batches(), [0..65_536, 65_536..rows]);
    for i in [0, 65_535, 65_536, rows - 1] {
        assert_eq!(dataset.glue_row(i).unwrap().row_id, i);
    }
}

/// A glue dataset of these labels, with this configuration.
fn labelled(labels: &[Label], layout: Layout, configuration: serde_json::Value) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let spec = DatasetSpec { layout, configuration, ..spec(Kind::Glue, true) };
    let writer = DatasetWriter::create(dir.path(), spec, &vocabulary()).unwrap();
    let mut shard = writer.shard(0).unwrap();
    for (&label, row_id) in labels.iter().zip(0..) {
        let ids = [2u32, 5, 3];
        shard.push(GlueRow { input_ids: ids[..].into(), segment_a_length: 3, label: Some(label), row_id }).unwrap();
    }
    writer.finish_shard(0, shard, json!(null)).unwrap();
    writer.publish(Vec::new()).unwrap();
    dir
}

#[test]
fn scores_come_back_as_they_were_written_and_are_summed_up() {
    let scores = [0.1f32, 4.75, 2.0].map(Label::Score);
    let dir = labelled(&scores, Layout::glue(vocabulary().len(), Some(LabelType::Score)), json!({}));
    let dataset = Dataset::open(dir.path()).unwrap();
    for (row, score) in (0..).zip(scores) {
        assert_eq!(dataset.glue_row(row).unwrap().label, Some(score));
    }
    let manifest = dataset.manifest();
    let found = manifest.statistics.scores.unwrap();
    assert_eq!((found.rows, found.min, found.max, found.sum_millionths), (3, 0.1, 4.75, 6_850_000));
    assert!((found.mean() - 2.283_333).abs() < 1e-6);
    assert_eq!(verify_shard(dir.path(), manifest, &manifest.shards[0]).unwrap(), manifest.statistics);
}

#[test]
fn a_class_that_the_task_does_not_have_is_found() {
    let layout = Layout::glue(vocabulary().len(), Some(LabelType::Class));
    let dir = labelled(&[0, 1, 2].map(Label::Class), layout, json!({"task": "rte", "labels": ["yes", "no"]}));
    let manifest = Manifest::read(dir.path()).unwrap();
    let error = verify_shard(dir.path(), &manifest, &manifest.shards[0]).unwrap_err().to_string();
    assert!(error.ends_with("row 2: expected a class below 2, found 2"), "{error}");
}

#[test]
fn labels_of_another_type_and_scores_that_are_none_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let spec =
        DatasetSpec { layout: Layout::glue(vocabulary().len(), Some(LabelType::Score)), ..spec(Kind::Glue, true) };
    let writer = DatasetWriter::create(dir.path(), spec, &vocabulary()).unwrap();
    let mut shard = writer.shard(0).unwrap();
    let mut refused = |label| {
        let ids = [2u32, 5, 3];
        let row = GlueRow { input_ids: ids[..].into(), segment_a_length: 3, label, row_id: 0 };
        shard.push(row).unwrap_err().to_string()
    };
    assert!(refused(Some(Label::Class(1))).ends_with("row 0: the label does not fit the columns"));
    assert!(refused(None).ends_with("row 0: the label does not fit the columns"));
    assert!(refused(Some(Label::Score(f32::NAN))).ends_with("row 0: expected a finite score, found NaN"));
}

#[test]
fn an_interrupted_run_keeps_its_finished_shards_and_ends_with_the_same_bytes() {
    let whole = pretrain_dataset(100, false);
    let dir = tempfile::tempdir().unwrap();
    let writer = DatasetWriter::create(dir.path(), spec(Kind::Pretrain, false), &vocabulary()).unwrap();
    write_shard(&writer, 0, 100, false);
    drop(writer);
    assert!(Dataset::open(dir.path()).unwrap_err().to_string().contains("run the same command again to resume it"));
    let writer = DatasetWriter::create(dir.path(), spec(Kind::Pretrain, false), &vocabulary()).unwrap();
    let mut checked = Vec::new();
    let finished = writer.finished_with(|done, total| checked.push((done, total))).unwrap();
    assert_eq!(finished.keys().copied().collect::<Vec<_>>(), [ShardId::from(0)]);
    let FinishedShard { entry, position, .. } = &finished[&ShardId::from(0)];
    assert_eq!((position, checked), (&json!(0), vec![(entry.bytes, entry.bytes)]));
    write_shard(&writer, 1, 100, false);
    writer.publish(Vec::new()).unwrap();
    assert_eq!(files(whole.path()), files(dir.path()));
}

fn share(rank: u32) -> Share {
    Share { rank, world_size: 2, inputs: json!(rank) }
}

/// Rank 1 makes slice 0, rank 0 slices 1 and 2, of one shard each but the last, which has two.
fn write_ranks(dir: &Path) {
    for (rank, ids) in [(1, vec![(0, 0, 0)]), (0, vec![(1, 0, 1), (2, 0, 0), (2, 1, 1)])] {
        let spec = spec(Kind::Pretrain, false);
        let writer = DatasetWriter::create_share(dir, spec, &vocabulary(), &share(rank)).unwrap();
        for (slice, index, half) in ids {
            write_shard_as(&writer, ShardId { slice, index }, half, 100, false);
        }
    }
}

#[test]
fn shards_are_numbered_through_slices_whoever_made_them() {
    let dir = tempfile::tempdir().unwrap();
    write_ranks(dir.path());
    let unfinished = UnfinishedDataset::open(dir.path()).unwrap();
    assert_eq!(unfinished.world_size(), 2);
    assert_eq!(unfinished.finished().unwrap().len(), 4);
    let manifest = unfinished.publish(json!({"seed": 1}), Vec::new()).unwrap();
    let halves: Vec<u64> = manifest.shards.iter().map(|shard| shard.tokens).collect();
    assert!(halves[0] == halves[2] && halves[1] == halves[3] && halves[0] != halves[1]);
    assert_eq!(Dataset::open(dir.path()).unwrap().len(), 200);
    assert!(!dir.path().join(WORK_DIR).exists());
}

#[test]
fn publication_goes_on_where_it_was_interrupted() {
    let (whole, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_ranks(whole.path());
    UnfinishedDataset::open(whole.path()).unwrap().publish(json!({}), Vec::new()).unwrap();
    write_ranks(dir.path());
    // Killed when the first two shards bore their final names.
    let work = dir.path().join(WORK_DIR);
    for (from, to) in [("rank-00001/shard-00000-00000", 0), ("rank-00000/shard-00001-00000", 1)] {
        let to = dir.path().join(format!("shard-{to:05}-of-00004.arrow"));
        fs::rename(work.join(format!("{from}.arrow")), to).unwrap();
    }
    let spec = spec(Kind::Pretrain, false);
    let writer = DatasetWriter::create_share(dir.path(), spec, &vocabulary(), &share(0)).unwrap();
    assert_eq!(writer.finished().unwrap().len(), 3, "a rank that runs again has nothing to do");
    assert!(UnfinishedDataset::open(dir.path()).unwrap_err().to_string().contains("rank 0 is writing here"));
    drop(writer);
    let unfinished = UnfinishedDataset::open(dir.path()).unwrap();
    assert_eq!(unfinished.finished().unwrap().len(), 4);
    unfinished.publish(json!({}), Vec::new()).unwrap();
    assert_eq!(files(whole.path()), files(dir.path()));
}

#[test]
fn a_rank_that_began_with_another_configuration_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    write_ranks(dir.path());
    // Both began at the same moment: the first one's specification was replaced before it was read.
    let path = dir.path().join(WORK_DIR).join("rank-00001/inputs.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("specification_sha256\":\"", "specification_sha256\":\"0", 1)).unwrap();
    let error = UnfinishedDataset::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("rank 1 was run with another configuration than the others"), "{error}");
}

fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap())
        .map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_finished_shard_that_is_damaged_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let writer = DatasetWriter::create(dir.path(), spec(Kind::Pretrain, false), &vocabulary()).unwrap();
    write_shard(&writer, 0, 100, false);
    write_shard(&writer, 1, 100, false);
    let path = writer.work_dir().join("shard-00000-00000.arrow");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(writer.finished().unwrap().keys().copied().collect::<Vec<_>>(), [ShardId::from(1)]);
}

#[test]
fn an_interrupted_run_is_not_resumed_with_another_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let writer = DatasetWriter::create(dir.path(), spec(Kind::Pretrain, false), &vocabulary()).unwrap();
    write_shard(&writer, 0, 10, false);
    drop(writer);
    let other = DatasetSpec { configuration: json!({"seed": 2}), ..spec(Kind::Pretrain, false) };
    let error = DatasetWriter::create(dir.path(), other, &vocabulary()).unwrap_err();
    assert!(error.to_string().contains("made with another configuration"), "{error}");
}

#[test]
fn a_second_writer_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _writer = DatasetWriter::create(dir.path(), spec(Kind::Corpus, false), &vocabulary()).unwrap();
    let error = DatasetWriter::create(dir.path(), spec(Kind::Corpus, false), &vocabulary()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Locked { .. }));
}

#[test]
fn a_finished_dataset_is_not_overwritten() {
    let dir = pretrain_dataset(4, false);
    let error = DatasetWriter::create(dir.path(), spec(Kind::Pretrain, false), &vocabulary()).unwrap_err();
    assert!(error.to_string().contains("a finished dataset is here already"));
}

#[test]
fn writer_refuses_a_row_that_breaks_an_invariant() {
    let dir = tempfile::tempdir().unwrap();
    let writer = DatasetWriter::create(dir.path(), spec(Kind::Pretrain, false), &vocabulary()).unwrap();
    let mut shard = writer.shard(0).unwrap();
    let ids = [2u32, 5, 3, 200, 3];
    let row = PretrainRow { input_ids: ids[..].into(), segment_a_length: 3, next_sentence_label: false, masked: None };
    let error = shard.push(row).unwrap_err();
    assert!(error.to_string().ends_with("row 0: expected token ids below 200, found 200"), "{error}");
}

#[test]
fn one_flipped_bit_anywhere_in_a_shard_is_an_error() {
    let dir = pretrain_dataset(60, true);
    let shard = dir.path().join("shard-00001-of-00002.arrow");
    let good = fs::read(&shard).unwrap();
    let manifest = Manifest::read(dir.path()).unwrap();
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&shard, &bad).unwrap();
        let result = verify_shard(dir.path(), &manifest, &manifest.shards[1]);
        let error = result.expect_err(&format!("byte {at} of {} is covered by a checksum", good.len()));
        assert!(error.to_string().contains("the file is damaged"), "{at}: {error}");
    }
}

#[test]
fn a_truncated_shard_is_named_with_both_lengths() {
    let dir = pretrain_dataset(60, false);
    let shard = dir.path().join("shard-00000-of-00002.arrow");
    let good = fs::read(&shard).unwrap();
    fs::write(&shard, &good[..good.len() - 9]).unwrap();
    let expected = format!(
        "{}: manifest promises {} bytes, the file has {}; restore it or rebuild the dataset",
        shard.display(),
        good.len(),
        good.len() - 9
    );
    assert_eq!(Dataset::open(dir.path()).unwrap_err().to_string(), expected);
}

#[test]
fn a_changed_manifest_is_an_error() {
    let dir = pretrain_dataset(60, false);
    let path = dir.path().join(MANIFEST);
    let text = fs::read_to_string(&path).unwrap();
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from));
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        Dataset::open(dir.path()).unwrap_err().to_string()
    };
    assert!(changed("\"seed\": 1", "\"seed\": 2").contains("manifest checksum is"));
    assert!(changed("\"version\": 1", "\"version\": 9").contains("format version 9, this program reads version 1"));
    assert!(changed("cloze-dataset", "other").contains("not a Cloze manifest"));
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    assert!(Dataset::open(dir.path()).unwrap_err().to_string().contains("not a Cloze manifest"));
    fs::write(&path, &text).unwrap();
    Dataset::open(dir.path()).unwrap();
}

#[test]
fn a_changed_vocabulary_is_an_error() {
    let dir = pretrain_dataset(6, false);
    fs::write(dir.path().join(VOCABULARY), b"[PAD]\n").unwrap();
    assert!(Dataset::open(dir.path()).is_err());
}

#[test]
fn a_corpus_is_not_a_pretrain_dataset() {
    let dir = pretrain_dataset(6, false);
    let error = Dataset::open_kind(dir.path(), Kind::Corpus).unwrap_err();
    assert!(error.to_string().ends_with("expected a corpus dataset, found pretrain"));
}
