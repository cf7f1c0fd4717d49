//! Documents from rows: JSON Lines, Parquet, Arrow.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, DictionaryArray, Int64Array, LargeStringArray, RecordBatch, StringArray, StringViewArray};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use cloze_prep::sources::{ReadOptions, SourceFile, SourceKind, documents_with};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

type Read = (Vec<Vec<String>>, Vec<(&'static str, u64)>, Vec<String>);

fn read_with(kind: SourceKind, path: &Path, options: &ReadOptions) -> Result<Read, String> {
    let source = SourceFile { kind, path: path.to_owned() };
    let reader = documents_with(&source, options).map_err(|e| e.to_string())?;
    let (skipped, bytes_read) = (reader.skipped(), reader.bytes_read());
    let found = reader.map(|raw| raw.map(|raw| raw.into_document().paragraphs).map_err(|e| e.to_string()));
    let found = found.collect::<Result<Vec<_>, _>>()?;
    let size = std::fs::metadata(path).unwrap().len();
    assert_eq!(bytes_read.load(Ordering::Relaxed), size);
    let counts = skipped.counts().into_iter().filter(|(_, count)| *count > 0).collect();
    Ok((found, counts, skipped.broken_rows()))
}

fn read(kind: SourceKind, bytes: &[u8]) -> Result<Read, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows");
    std::fs::write(&path, bytes).unwrap();
    read_with(kind, &path, &ReadOptions::default())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn the_field_of_each_json_row_is_a_document() {
    let rows = "\u{feff}{\"id\": 1, \"text\": \"One a.\\n\\nTwo \\u00fe.\\nThree.\", \"meta\": {\"text\": [1, {}]}}\r\n\n \
                {\"text\":\"Plain\"}\n{\"text\": null}\n{\"text\": \"\"}\n{\"text\": \"last\"}";
    let (found, counts, broken) = read(SourceKind::Jsonl, rows.as_bytes()).unwrap();
    assert_eq!(found, [vec!["One a.", "Two þ.", "Three."], vec!["Plain"], vec![], vec!["last"]]);
    assert_eq!((counts, broken), (vec![("null", 1)], vec![]));
    assert_eq!(read(SourceKind::Jsonl, &gzip(rows.as_bytes())).unwrap().0, found);
}

const BROKEN: &[u8] =
    b"{\"text\": \"good\"}\n{\"text\": \"cut\n{\"title\": \"T\", \"id\": 3}\n{\"text\": 5}\n[\"text\"]\n\
                        {\"text\": \"bad \xff\"}\n{\"text\": \"a\"} {}\n{\"text\": \"fine\"}\n";

#[test]
fn broken_json_rows_are_counted_and_described_by_line() {
    let (found, counts, broken) = read(SourceKind::Jsonl, BROKEN).unwrap();
    assert_eq!(found, [["good"], ["fine"]]);
    assert_eq!(counts, [("broken", 6)]);
    assert_eq!(broken.len(), 5, "the first few");
    assert!(broken[0].starts_with("line 2: expected a JSON object, found at column 13: EOF while"), "{broken:?}");
    assert_eq!(broken[1], "line 3: expected a field \"text\" (see --field), found title, id");
    assert_eq!(broken[2], "line 4: expected text in field \"text\", found a number");
    assert!(broken[3].starts_with("line 5: expected a JSON object, found at column "), "{broken:?}");
    assert!(broken[4].starts_with("line 6: expected a JSON object, found at column "), "{broken:?}");
}

#[test]
fn a_broken_json_row_is_an_error_if_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.jsonl");
    std::fs::write(&path, BROKEN).unwrap();
    let strict = ReadOptions { strict: true, ..ReadOptions::default() };
    let message = read_with(SourceKind::Jsonl, &path, &strict).unwrap_err();
    assert!(message.contains("rows.jsonl: line 2: expected a JSON object, found at column 13: EOF while"), "{message}");
    assert!(message.ends_with("mend the row, or leave --strict away to skip such rows"), "{message}");
}

#[test]
fn a_json_array_is_refused_with_advice() {
    let message = read(SourceKind::Jsonl, b" [{\"text\": \"a\"},\n {\"text\": \"b\"}]").unwrap_err();
    assert!(
        message.ends_with("expected JSON Lines (one object a line), found an array; convert it with `jq -c '.[]'`")
    );
}

#[test]
fn damage_of_compressed_rows_or_text_is_named_as_such() {
    let text: String =
        (0..20_000).map(|i| format!("{{\"text\": \"Ship number {i} sailed for port {}.\"}}\n", i * i)).collect();
    let whole = gzip(text.as_bytes());
    let mut named_as_text = 0;
    for at in (20..whole.len() - 8).step_by(whole.len() / 40) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        for kind in [SourceKind::Jsonl, SourceKind::Text, SourceKind::Wikipedia] {
            let message = read(kind, &bytes).unwrap_err();
            // Text that is no dump is refused at its first byte, before any damage.
            named_as_text += usize::from(!message.contains("gzip data is damaged") && kind != SourceKind::Wikipedia);
        }
    }
    assert_eq!(named_as_text, 0);
}

/// Texts of many lengths, some of them missing.
fn texts() -> Vec<Option<String>> {
    (0..3_000)
        .map(|i| (i % 7 != 3).then(|| format!("Ship {i} sailed.\n\nIt {}.", "sank and ".repeat(i % 50))))
        .collect()
}

fn paragraphs() -> Vec<Vec<String>> {
    let split = |text: String| text.split("\n\n").map(|paragraph| paragraph.trim().to_owned()).collect();
    texts().into_iter().flatten().map(split).collect()
}

fn batch(text: ArrayRef) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..text.len() as i64));
    let titles: ArrayRef = Arc::new(StringArray::from_iter_values((0..text.len()).map(|i| format!("Title {i}"))));
    RecordBatch::try_from_iter_with_nullable([("id", ids, false), ("title", titles, true), ("text", text, true)])
        .unwrap()
}

/// The same texts in each type of column that can hold them.
fn batches() -> Vec<RecordBatch> {
    let texts = texts();
    let dictionary: DictionaryArray<Int32Type> = texts.iter().map(Option::as_deref).collect();
    let columns: [ArrayRef; 4] = [
        Arc::new(StringArray::from(texts.clone())),
        Arc::new(LargeStringArray::from(texts.clone())),
        Arc::new(texts.iter().map(Option::as_deref).collect::<StringViewArray>()),
        Arc::new(dictionary),
    ];
    columns.into_iter().map(batch).collect()
}

fn to_parquet(batch: &RecordBatch, compression: Compression) -> Vec<u8> {
    let properties = WriterProperties::builder().set_compression(compression).set_max_row_group_row_count(Some(700));
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties.build())).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

fn to_arrow(batch: &RecordBatch, as_file: bool, options: IpcWriteOptions) -> Vec<u8> {
    let slices = (0..batch.num_rows()).step_by(1_000).map(|at| batch.slice(at, 1_000.min(batch.num_rows() - at)));
    if as_file {
        let mut writer = FileWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
        slices.for_each(|slice| writer.write(&slice).unwrap());
        writer.into_inner().unwrap()
    } else {
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
        slices.for_each(|slice| writer.write(&slice).unwrap());
        writer.into_inner().unwrap()
    }
}

#[test]
fn a_parquet_column_of_any_text_type_is_read_across_row_groups() {
    for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())] {
        for batch in batches() {
            let (found, counts, _) = read(SourceKind::Parquet, &to_parquet(&batch, compression)).unwrap();
            assert!(found == paragraphs(), "{compression} {}", batch.schema());
            assert_eq!(counts, [("null", 429)]);
        }
    }
}

#[test]
fn an_arrow_column_is_read_from_files_and_streams_however_compressed() {
    for batch in batches() {
        for as_file in [false, true] {
            let plain = to_arrow(&batch, as_file, IpcWriteOptions::default());
            let lz4 = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).unwrap();
            let forms = [gzip(&plain), zstd::encode_all(&plain[..], 1).unwrap(), to_arrow(&batch, as_file, lz4), plain];
            for bytes in forms {
                let (found, counts, _) = read(SourceKind::Arrow, &bytes).unwrap();
                assert!(found == paragraphs(), "file: {as_file}, {}", batch.schema());
                assert_eq!(counts, [("null", 429)]);
            }
        }
    }
}

#[test]
fn a_column_that_is_missing_or_holds_no_text_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let batch = &batches()[0];
    let files = [
        (SourceKind::Parquet, to_parquet(batch, Compression::SNAPPY)),
        (SourceKind::Arrow, to_arrow(batch, false, IpcWriteOptions::default())),
    ];
    for (kind, bytes) in files {
        let path: PathBuf = dir.path().join(kind.to_string());
        std::fs::write(&path, bytes).unwrap();
        let message = |column: &str| {
            let options = ReadOptions { column: column.to_owned(), ..ReadOptions::default() };
            read_with(kind, &path, &options).unwrap_err()
        };
        assert!(message("body").ends_with("expected a column \"body\" (see --column), found id, title, text"));
        assert!(message("id").ends_with("expected text in column \"id\" (see --column), found Int64"));
    }
}

#[test]
fn what_is_no_table_is_refused() {
    let message = |kind, bytes: &[u8]| read(kind, bytes).unwrap_err();
    for bytes in [&b""[..], b"PAR1", b"Plain text that is no table.\n"] {
        assert!(
            message(SourceKind::Parquet, bytes).contains("Parquet data"),
            "{}",
            message(SourceKind::Parquet, bytes)
        );
        let found = message(SourceKind::Arrow, bytes);
        assert!(found.contains("Arrow data was expected (an IPC file or stream), found something else"), "{found}");
    }
}

#[test]
fn a_table_cut_short_is_an_error_wherever_it_was_cut() {
    let batch = &batches()[0];
    let parquet = to_parquet(batch, Compression::SNAPPY);
    let arrow = to_arrow(batch, true, IpcWriteOptions::default());
    let stream = to_arrow(batch, false, IpcWriteOptions::default());
    for i in 1..60 {
        assert!(read(SourceKind::Parquet, &parquet[..parquet.len() * i / 60]).is_err(), "{i}");
        assert!(read(SourceKind::Arrow, &arrow[..arrow.len() * i / 60]).is_err(), "{i}");
        assert!(read(SourceKind::Arrow, &stream[..stream.len() * i / 60]).is_err(), "{i}");
    }
}

/// Where the messages of a stream of three batches begin, by the mark in front of each; the last is that of the end.
fn messages(arrow: &[u8]) -> Vec<usize> {
    (0..arrow.len()).step_by(8).filter(|&at| arrow[at..].starts_with(&[0xff; 4])).collect()
}

#[test]
fn an_arrow_stream_that_goes_on_after_its_end_is_an_error() {
    let stream = to_arrow(&batches()[0], false, IpcWriteOptions::default());
    let starts = messages(&stream);
    assert_eq!(starts.len(), 5, "a schema, three batches, the end");
    let joined = [&stream[..], &stream].concat();
    let mut hole = stream.clone();
    hole[starts[2]..starts[2] + 64].fill(0);
    for bytes in [joined, hole, [&stream[..], &[0]].concat()] {
        for bytes in [gzip(&bytes), bytes] {
            let message = read(SourceKind::Arrow, &bytes).unwrap_err();
            assert!(
                message.contains("Arrow stream ends, but the file goes on: it is damaged, or several"),
                "{message}"
            );
        }
    }
    for &start in &starts {
        let message = read(SourceKind::Arrow, &stream[..start]).unwrap_err();
        assert!(message.contains("ends early: the file was cut short") || start == 0, "{start}: {message}");
    }
}

#[test]
fn an_arrow_file_whose_footer_lists_other_batches_is_an_error() {
    let file = to_arrow(&batches()[0], true, IpcWriteOptions::default());
    let starts = messages(&file);
    let end = *starts.last().unwrap();
    let mut hole = file.clone();
    hole[starts[2]..starts[2] + 64].fill(0);
    let message = read(SourceKind::Arrow, &hole).unwrap_err();
    assert!(message.contains("damaged: expected the file's footer after the end of its stream"), "{message}");
    // Without its last batch, and with the mark where that was.
    let short = [&file[..starts[3]], &file[end..]].concat();
    let message = read(SourceKind::Arrow, &short).unwrap_err();
    assert!(message.contains("damaged: its footer lists 3 record batches, found 2"), "{message}");
    // Both footers list as many.
    let message = read(SourceKind::Arrow, &[&file[..], &file].concat()).unwrap_err();
    assert!(message.contains("damaged: expected the file's footer after the end of its stream"), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// These files need not have checksums: damage may change a text unseen, but does no more than that.
    #[test]
    fn a_damaged_table_gives_errors_or_rows_and_never_a_panic(place in 0.0..1.0, bit in 0u8..8, zeros in any::<bool>(), form in 0usize..4) {
        use std::sync::LazyLock;
        static FORMS: LazyLock<[(SourceKind, Vec<u8>); 4]> = LazyLock::new(|| {
            let batches = batches();
            [
                (SourceKind::Parquet, to_parquet(&batches[0], Compression::SNAPPY)),
                (SourceKind::Parquet, to_parquet(&batches[3], Compression::UNCOMPRESSED)),
                (SourceKind::Arrow, to_arrow(&batches[2], false, IpcWriteOptions::default())),
                (SourceKind::Arrow, to_arrow(&batches[3], true, IpcWriteOptions::default())),
            ]
        });
        let (kind, bytes) = &FORMS[form];
        let mut bytes = bytes.clone();
        // Metadata lies at both ends, and is what decoders trust most.
        let curved = if place < 0.5 { 4.0 * f64::powi(place, 3) } else { 1.0 - 4.0 * f64::powi(1.0 - place, 3) };
        let at = ((curved * bytes.len() as f64) as usize).min(bytes.len() - 1);
        if zeros {
            let end = (at + 64).min(bytes.len());
            bytes[at..end].fill(0);
        } else {
            bytes[at] ^= 1 << bit;
        }
        if let Ok((found, ..)) = read(*kind, &bytes) {
            prop_assert!(found.len() <= 3_000);
        }
    }
}
