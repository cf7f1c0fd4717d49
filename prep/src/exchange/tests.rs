//! There and back: rows, masks, refusals.

use std::path::{Path, PathBuf};

use cloze_formats::Label;
use cloze_formats::config::{InstanceConfig, MaskingMode};
use cloze_formats::manifest::VocabularyInfo;
use cloze_formats::rng::{KeyedRng, Purpose};
use cloze_formats::schema::Layout;
use cloze_formats::stream::{Gather, Masking, PretrainGather};
use cloze_formats::{
    CorpusRow, Dataset, DatasetSpec, DatasetWriter, GlueRow, Kind, PretrainRow, StaticMask, Tokens, Vocabulary,
};
use proptest::prelude::*;

use super::*;
use crate::progress::Progress;

const ALL: [Format; 5] =
    [Format::NvidiaHdf5, Format::LddlParquet, Format::Tfrecord, Format::Parquet, Format::ArrowStream];

fn vocabulary(num_tokens: usize) -> Vocabulary {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned);
    let tokens: Vec<String> = special.into_iter().chain((5..num_tokens).map(|i| format!("##w{i}"))).collect();
    Vocabulary::from_bytes("vocab.txt", tokens.join("\n").into_bytes()).unwrap()
}

fn writer(dir: &Path, kind: Kind, optional: bool, vocabulary: &Vocabulary) -> DatasetWriter {
    let masking = if optional { MaskingMode::Static } else { MaskingMode::Dynamic };
    let spec = DatasetSpec {
        writer: "test".to_owned(),
        kind,
        layout: Layout::new(kind, vocabulary.len(), optional),
        vocabulary: VocabularyInfo::new(vocabulary, true),
        configuration: serde_json::to_value(InstanceConfig::for_phase(1, masking)).unwrap(),
        inputs: serde_json::Value::Null,
    };
    DatasetWriter::create(dir, spec, vocabulary).unwrap()
}

/// A pretrain dataset whose shards have as many rows as `shards` says; the rows follow from their number alone.
fn pretrain(dir: &Path, shards: &[u64], masked: bool, vocabulary: &Vocabulary) -> Dataset {
    let writer = writer(dir, Kind::Pretrain, masked, vocabulary);
    let mut number = 0;
    for (index, &rows) in (0..).zip(shards) {
        let mut shard = writer.shard(index).unwrap();
        for _ in 0..rows {
            let mut rng = KeyedRng::new(1, Purpose::Plan, number, 0);
            let lengths = [rng.between(1, 60), rng.between(1, 60)];
            let mut ids = vec![2];
            for length in lengths {
                // Text has none of the five special tokens.
                ids.extend((0..length).map(|_| rng.between(5, vocabulary.len() as u64 - 1) as u32));
                ids.push(3);
            }
            let a = lengths[0] as u16 + 2;
            let inside = |p: &u16| *p != a - 1;
            let mut positions: Vec<u16> = (1..ids.len() as u16 - 1).filter(inside).collect();
            positions.retain(|_| rng.below(7) == 0);
            positions.truncate(20);
            if positions.is_empty() {
                positions.push(1);
            }
            let seen: Vec<u32> = positions.iter().map(|_| rng.below(vocabulary.len() as u64) as u32).collect();
            let masked = masked.then_some(StaticMask { positions: &positions, inputs: (&seen).into() });
            let next_sentence_label = rng.coin();
            let row = PretrainRow { input_ids: (&ids).into(), segment_a_length: a, next_sentence_label, masked };
            shard.push(row).unwrap();
            number += 1;
        }
        writer.finish_shard(index, shard, serde_json::Value::Null).unwrap();
    }
    writer.publish(Vec::new()).unwrap();
    Dataset::open(dir).unwrap()
}

fn options(format: Format) -> ExportOptions {
    ExportOptions { format, num_files: None, bin_size: None, seed: 3, epoch: 2 }
}

/// Exports to `dir/out`, imports from there to `dir/back`.
fn there_and_back(dataset: &Dataset, options: &ExportOptions, dir: &Path) -> Dataset {
    export(dataset, options, &dir.join("out"), Progress::silent()).unwrap();
    back(options.format, &dir.join("out"), dataset.vocabulary(), dir).unwrap()
}

fn back(format: Format, from: &Path, vocabulary: &Vocabulary, dir: &Path) -> crate::Result<Dataset> {
    let out = dir.join("back");
    import(format, &[from.to_owned()], vocabulary, true, &out, Progress::silent())?;
    Dataset::open(out)
}

fn refusal(format: Format, from: &Path, vocabulary: &Vocabulary) -> String {
    let dir = tempfile::tempdir().unwrap();
    let error = back(format, from, vocabulary, dir.path()).unwrap_err().to_string();
    assert!(!dir.path().join("back").exists(), "a failed import leaves nothing");
    error
}

fn assert_same_rows(one: &Dataset, other: &Dataset) {
    assert_eq!(one.len(), other.len());
    (0..one.len()).for_each(|i| assert_eq!(one.row(i).unwrap(), other.row(i).unwrap(), "row {i}"));
    assert_eq!(one.manifest().statistics, other.manifest().statistics);
    assert_eq!(one.manifest().vocabulary, other.manifest().vocabulary);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn export_and_import_give_the_same_rows(
        shards in prop::collection::vec(1u64..40, 1..4),
        format in prop::sample::select(&ALL[..]),
        wide: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let vocabulary = vocabulary(if wide { 70_000 } else { 300 });
        let dataset = pretrain(&dir.path().join("dataset"), &shards, true, &vocabulary);
        let imported = there_and_back(&dataset, &options(format), dir.path());
        assert_same_rows(&dataset, &imported);
        let config: InstanceConfig = serde_json::from_value(imported.manifest().configuration.clone()).unwrap();
        prop_assert_eq!(config.masking, MaskingMode::Static);
        prop_assert_eq!(config.validate(), Ok(()));
        prop_assert!(usize::from(config.max_seq_length) >= imported.longest_row());
    }
}

#[test]
fn datasets_without_masks_stay_so_where_the_format_can_say_it() {
    for format in [Format::LddlParquet, Format::Parquet, Format::ArrowStream] {
        let dir = tempfile::tempdir().unwrap();
        let dataset = pretrain(&dir.path().join("dataset"), &[30, 31], false, &vocabulary(300));
        assert_same_rows(&dataset, &there_and_back(&dataset, &options(format), dir.path()));
    }
}

#[test]
fn masks_are_drawn_as_the_trainer_draws_them() {
    for format in [Format::NvidiaHdf5, Format::Tfrecord] {
        let dir = tempfile::tempdir().unwrap();
        let dataset = pretrain(&dir.path().join("dataset"), &[20, 20], false, &vocabulary(300));
        let imported = there_and_back(&dataset, &options(format), dir.path());
        let masking = InstanceConfig::for_phase(1, MaskingMode::Dynamic).masking_config();
        let trainer = PretrainGather::new(dataset.into(), Masking::Dynamic(masking), 3).unwrap();
        let files = PretrainGather::new(imported.into(), Masking::Static, 0).unwrap();
        let rows: Vec<u64> = (0..40).collect();
        let of_epoch = |epoch| rows.iter().map(|&row| (row, epoch)).collect::<Vec<_>>();
        let found = files.gather(&of_epoch(0)).unwrap();
        assert_eq!(found, trainer.gather(&of_epoch(2)).unwrap());
        assert_ne!(found, trainer.gather(&of_epoch(1)).unwrap());
    }
}

#[test]
fn corpora_and_labelled_examples_travel_as_columns() {
    for format in [Format::Parquet, Format::ArrowStream] {
        let dir = tempfile::tempdir().unwrap();
        let vocabulary = vocabulary(300);
        let corpus = writer(&dir.path().join("corpus"), Kind::Corpus, false, &vocabulary);
        let glue = writer(&dir.path().join("glue"), Kind::Glue, true, &vocabulary);
        let (mut documents, mut examples) = (corpus.shard(0).unwrap(), glue.shard(0).unwrap());
        for i in 0..50u64 {
            let ids = [2, 7 + i as u32, 9, 3];
            let row = CorpusRow { document_id: i, token_ids: Tokens::U32(&ids[1..3]), sentence_lengths: &[1, 1] };
            documents.push(row).unwrap();
            let label = Some(Label::Class((i % 3) as i32));
            let row = GlueRow { input_ids: Tokens::U32(&ids), segment_a_length: 4, label, row_id: i };
            examples.push(row).unwrap();
        }
        for (name, writer, shard) in [("corpus", corpus, documents), ("glue", glue, examples)] {
            writer.finish_shard(0, shard, serde_json::Value::Null).unwrap();
            writer.publish(Vec::new()).unwrap();
            let (dataset, there) = (Dataset::open(dir.path().join(name)).unwrap(), dir.path().join("x").join(name));
            std::fs::create_dir_all(&there).unwrap();
            let imported = there_and_back(&dataset, &options(format), &there);
            assert_same_rows(&dataset, &imported);
            assert_eq!(dataset.manifest().configuration, imported.manifest().configuration);
            if format == Format::Parquet {
                let error = export(&dataset, &options(Format::Tfrecord), &there.join("no"), Progress::silent());
                let expected = format!("expected a pretrain dataset, found {name}");
                assert!(error.unwrap_err().to_string().ends_with(&expected));
            }
        }
    }
}

#[test]
fn bytes_do_not_depend_on_the_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = pretrain(&dir.path().join("dataset"), &[30, 31, 30], true, &vocabulary(300));
    for format in ALL {
        let files = [1, 4].map(|threads| {
            let out = dir.path().join(format!("{}-{threads}", format.name()));
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let bin_size = (format == Format::LddlParquet).then_some(64);
            let options = ExportOptions { bin_size, ..options(format) };
            pool.install(|| export(&dataset, &options, &out, Progress::silent())).unwrap();
            let read = |path: PathBuf| (path.file_name().unwrap().to_owned(), std::fs::read(path).unwrap());
            let mut files: Vec<_> = std::fs::read_dir(out).unwrap().map(|e| read(e.unwrap().path())).collect();
            files.sort();
            files
        });
        assert!(files[0].len() >= 3 && files[0] == files[1], "{}", format.name());
    }
}

#[test]
fn one_file_takes_the_rows_of_all_shards() {
    for format in [Format::NvidiaHdf5, Format::Tfrecord, Format::Parquet, Format::LddlParquet] {
        let dir = tempfile::tempdir().unwrap();
        let dataset = pretrain(&dir.path().join("dataset"), &[5, 8], true, &vocabulary(300));
        let out = dir.path().join("all").with_extension(format.extensions()[0]);
        export(&dataset, &options(format), &out, Progress::silent()).unwrap();
        assert!(out.is_file());
        assert_same_rows(&dataset, &back(format, &out, dataset.vocabulary(), dir.path()).unwrap());
    }
}

#[test]
fn length_bins_hold_every_row_once() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = pretrain(&dir.path().join("dataset"), &[100, 101], true, &vocabulary(300));
    let options = ExportOptions { bin_size: Some(64), num_files: Some(3), ..options(Format::LddlParquet) };
    let summary = export(&dataset, &options, &dir.path().join("out"), Progress::silent()).unwrap();
    assert_eq!((summary.files, summary.rows), (6, 201));
    let imported = back(Format::LddlParquet, &dir.path().join("out"), dataset.vocabulary(), dir.path()).unwrap();
    assert_eq!(imported.manifest().statistics, dataset.manifest().statistics);
    let narrow = ExportOptions { bin_size: Some(2), ..options };
    let error = export(&dataset, &narrow, &dir.path().join("no"), Progress::silent()).unwrap_err().to_string();
    assert!(error.contains("expected at least a row per file in each bin, found 0 of 1 to 2 tokens"), "{error}");
    assert!(!dir.path().join("no").exists() && !dir.path().join(".no.tmp").exists());
}

#[test]
fn rows_that_are_no_instances_are_refused_by_file_and_row() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = pretrain(&dir.path().join("dataset"), &[9], true, &vocabulary(300));
    for format in ALL {
        let out = dir.path().join(format.name());
        export(&dataset, &options(format), &out, Progress::silent()).unwrap();
        // Ids of this dataset reach to 299, so some row has one that these tokens do not.
        let error = refusal(format, &out, &vocabulary(20));
        let expected = match format {
            Format::NvidiaHdf5 => "shard-00000-of-00001.hdf5: row 0: expected token ids below 20, found ",
            Format::Tfrecord => "shard-00000-of-00001.tfrecord: row 0: expected token ids below 20, found ",
            Format::LddlParquet => "shard-0.parquet: row 0: A: expected tokens of the vocabulary, found \"##w",
            Format::Parquet => "shard-00000-of-00001.parquet: expected the vocabulary it was exported with, ",
            Format::ArrowStream => "data-00000-of-00001.arrow: expected the vocabulary it was exported with, ",
        };
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn other_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for format in ALL {
        let path = dir.path().join("other").with_extension(format.extensions()[0]);
        std::fs::write(&path, "this is a text file, and not a short one either").unwrap();
        let error = refusal(format, &path, &vocabulary(20));
        let expected = match format {
            Format::NvidiaHdf5 => "expected an HDF5 file of NVIDIA's arrays: ",
            Format::Tfrecord => "row 0: the checksum of a record's length differs: not a TFRecord file, or damaged",
            Format::LddlParquet | Format::Parquet => "expected a Parquet file, found none: ",
            Format::ArrowStream => "expected an Arrow stream as `datasets` saves it, found none: ",
        };
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn an_arrow_stream_that_does_not_end_with_its_mark_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = pretrain(&dir.path().join("dataset"), &[9], true, &vocabulary(300));
    let out = dir.path().join("out");
    export(&dataset, &options(Format::ArrowStream), &out, Progress::silent()).unwrap();
    let path = out.join("data-00000-of-00001.arrow");
    let stream = std::fs::read(&path).unwrap();
    let mark = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    let whole = stream.strip_suffix(&mark).unwrap();
    for (bytes, problem) in [
        (whole.to_vec(), "Arrow data ends early: the file was cut short"),
        ([&stream[..], &stream].concat(), "Arrow stream ends, but the file goes on"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = refusal(Format::ArrowStream, &out, dataset.vocabulary());
        assert!(error.contains(problem), "{error}");
    }
    std::fs::write(&path, &stream).unwrap();
    back(Format::ArrowStream, &out, dataset.vocabulary(), dir.path()).unwrap();
}

#[test]
fn hdf5_files_without_the_arrays_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.hdf5");
    let names = ["input_ids", "input_mask", "segment_ids", "masked_lm_positions", "masked_lm_ids"];
    for (given, expected) in [
        (4, "expected an array masked_lm_ids, found none"),
        (5, "expected an array next_sentence_labels, found none"),
        (6, "expected next_sentence_labels of shape [2], found [3]"),
    ] {
        let mut file = hdf5_pure::FileBuilder::new();
        for name in names.iter().take(given) {
            file.create_dataset(name).with_i32_data(&[1; 8]).with_shape(&[2, 4]);
        }
        if given > names.len() {
            file.create_dataset("next_sentence_labels").with_i8_data(&[0; 3]).with_shape(&[3]);
        }
        file.write(&path).unwrap();
        let error = refusal(Format::NvidiaHdf5, &path, &vocabulary(20));
        assert!(error.ends_with(expected), "{error}");
    }
}
