//! Sources as a user names them: folders, globs, any compression.

use std::io::Write;
use std::sync::atomic::Ordering;

use cloze_prep::sources::{SourceKind, documents, expand};

const BOOK: &str = "CHAPTER I\n\nIt was late. Nobody came.\n\nThen somebody came.\n";

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(text: &str) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_folder_of_books_reads_the_same_whatever_compresses_them() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("more")).unwrap();
    std::fs::write(dir.path().join("a.txt"), BOOK).unwrap();
    std::fs::write(dir.path().join("b.txt.gz"), gzip(BOOK)).unwrap();
    std::fs::write(dir.path().join("c.txt.bz2"), bzip2(BOOK)).unwrap();
    // Recognised by content, not by name.
    std::fs::write(dir.path().join("more/d.txt"), zstd::encode_all(BOOK.as_bytes(), 3).unwrap()).unwrap();
    let sources = expand(SourceKind::Books, &[dir.path()]).unwrap();
    assert_eq!(sources.len(), 4);
    for source in sources {
        let reader = documents(&source).unwrap();
        let bytes_read = reader.bytes_read();
        let found: Vec<_> = reader.map(|raw| raw.unwrap().into_document()).collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].paragraphs, ["CHAPTER I", "It was late. Nobody came.", "Then somebody came."]);
        assert_eq!(bytes_read.load(Ordering::Relaxed), std::fs::metadata(&source.path).unwrap().len());
    }
}

#[test]
fn a_glob_of_texts_keeps_documents_in_order() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("2.txt", "three\n\nfour"), ("1.txt", "one\n\ntwo\n")] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let sources = expand(SourceKind::Text, &[dir.path().join("?.txt")]).unwrap();
    let found: Vec<String> = sources
        .iter()
        .flat_map(|source| documents(source).unwrap())
        .flat_map(|raw| raw.unwrap().into_document().paragraphs)
        .collect();
    assert_eq!(found, ["one", "two", "three", "four"]);
}

#[test]
fn raw_documents_can_be_extracted_on_other_threads() {
    fn assert_send<T: Send>(_: &T) {}
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.txt"), "one").unwrap();
    let sources = expand(SourceKind::Text, &[dir.path().join("a.txt")]).unwrap();
    let mut reader = documents(&sources[0]).unwrap();
    assert_send(&reader);
    let raw = reader.next().unwrap().unwrap();
    let document = std::thread::spawn(move || raw.into_document()).join().unwrap();
    assert_eq!(document.paragraphs, ["one"]);
}
