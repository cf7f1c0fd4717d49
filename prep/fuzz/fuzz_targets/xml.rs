//! The reader of MediaWiki exports on any bytes: an error or documents, never a panic.
#![no_main]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cloze_prep::sources::{SourceFile, SourceKind, documents};
use libfuzzer_sys::fuzz_target;

static FILE: OnceLock<PathBuf> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    // Compressed streams are another matter, and unpack to more than a fuzzer should wait for.
    if data.starts_with(b"BZh") || data.starts_with(&[0x1f, 0x8b]) || data.starts_with(&[0x28, 0xb5]) {
        return;
    }
    let path = FILE.get_or_init(|| {
        let base = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
        let dir = tempfile::Builder::new().prefix("cloze-fuzz-").tempdir_in(base).expect("a temporary directory");
        dir.keep().join("dump.xml")
    });
    std::fs::write(path, data).expect("a writable temporary directory");
    let source = SourceFile { kind: SourceKind::Wikipedia, path: path.clone() };
    let Ok(reader) = documents(&source) else { return };
    for document in reader {
        match document {
            Ok(document) => drop(document.into_document()),
            Err(error) => assert!(!error.to_string().contains('\n'), "one line: {error}"),
        }
    }
});
