//! The shard reader on files whose checksums all fit: what nobody but an attacker makes, so that decoding is reached.
//!
//! The input is a list of edits (four bytes: where, what) of a small whole shard. Reading the result may fail and must not
//! panic.
#![no_main]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cloze_formats::checksum::Crc32c;
use cloze_formats::dataset::verify_shard;
use cloze_formats::manifest::VocabularyInfo;
use cloze_formats::schema::Layout;
use cloze_formats::{
    CorpusRow, DatasetSpec, DatasetWriter, GlueRow, Kind, Label, Manifest, PretrainRow, Row, SquadRow, StaticMask,
    Vocabulary,
};
use libfuzzer_sys::fuzz_target;

struct Template {
    manifest: Manifest,
    bytes: Vec<u8>,
}

static TEMPLATES: OnceLock<(PathBuf, Vec<Template>)> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let (dir, templates) = TEMPLATES.get_or_init(make);
    let Some((&which, edits)) = data.split_first() else { return };
    let template = &templates[usize::from(which) % templates.len()];
    let (mut manifest, mut bytes) = (template.manifest.clone(), template.bytes.clone());
    for edit in edits.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % bytes.len();
        match edit[3] % 4 {
            0 => bytes[at] ^= edit[2],
            1 => bytes[at] = edit[2],
            2 => bytes[at] = bytes[at].wrapping_add(edit[2]),
            _ => {
                let end = (at + 8).min(bytes.len());
                bytes[at..end].fill(edit[2]);
            }
        }
    }
    let entry = &mut manifest.shards[0];
    let head_end = entry.batches[0].offset as usize;
    entry.head_crc32c = Crc32c::of(&bytes[..head_end]);
    entry.tail_crc32c = Crc32c::of(&bytes[entry.tail_offset as usize..]);
    for batch in &mut entry.batches {
        batch.crc32c = Crc32c::of(&bytes[batch.offset as usize..(batch.offset + batch.bytes) as usize]);
    }
    let path = dir.join(&entry.file);
    // A new file: one that may still be mapped is not changed.
    let _ = std::fs::remove_file(&path);
    std::fs::write(&path, &bytes).expect("a writable temporary directory");
    let _ = verify_shard(dir, &manifest, &manifest.shards[0]);
});

fn make() -> (PathBuf, Vec<Template>) {
    // In memory where there is such a place. One process fuzzes until it is killed: the directory is left to the system.
    let base = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
    let dir = tempfile::Builder::new().prefix("cloze-fuzz-").tempdir_in(base).expect("a temporary directory").keep();
    let kinds = [Kind::Corpus, Kind::Pretrain, Kind::Squad, Kind::Glue];
    let templates = kinds.into_iter().map(|kind| template(&dir.join(kind.to_string()), kind)).collect();
    (dir, templates)
}

fn template(dir: &Path, kind: Kind) -> Template {
    let tokens: Vec<String> = (5..60).map(|i| format!("w{i}")).collect();
    let text = format!("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n{}\n", tokens.join("\n"));
    let vocabulary = Vocabulary::from_bytes("vocab.txt", text.into_bytes()).expect("a vocabulary");
    let spec = DatasetSpec {
        writer: "fuzz".to_owned(),
        kind,
        layout: Layout::new(kind, vocabulary.len(), true),
        vocabulary: VocabularyInfo::new(&vocabulary, false),
        configuration: serde_json::Value::Null,
        inputs: serde_json::Value::Null,
    };
    let writer = DatasetWriter::create(dir, spec, &vocabulary).expect("a writable directory");
    let mut shard = writer.shard(0).expect("a shard");
    for i in 0..6u16 {
        let ids = [2u32, 7, 8, 3, 10 + u32::from(i), 3];
        let words = [7u32, 8, 9, 10 + u32::from(i), 11, 12];
        let (tokens, a) = (ids[..].into(), 4);
        let offsets = [u32::from(i)];
        let row: Row<'_> = match kind {
            Kind::Corpus => {
                CorpusRow { document_id: i.into(), token_ids: words[..].into(), sentence_lengths: &[4, 2] }.into()
            }
            Kind::Pretrain => {
                let masked = Some(StaticMask { positions: &[1, 4], inputs: ids[1..3].into() });
                PretrainRow { input_ids: tokens, segment_a_length: a, next_sentence_label: i.is_multiple_of(2), masked }
                    .into()
            }
            Kind::Squad => SquadRow {
                input_ids: tokens,
                segment_a_length: a,
                start_position: 4,
                end_position: 4,
                is_impossible: false,
                example_id: "q1",
                window: i,
                context_starts: &offsets,
                context_ends: &offsets,
                max_context: &[1],
            }
            .into(),
            Kind::Glue => {
                let label = Some(Label::Class(i.into()));
                GlueRow { input_ids: tokens, segment_a_length: a, label, row_id: i.into() }.into()
            }
        };
        shard.push(row).expect("a valid row");
    }
    writer.finish_shard(0, shard, serde_json::Value::Null).expect("a finished shard");
    let manifest = writer.publish(Vec::new()).expect("a dataset");
    let bytes = std::fs::read(dir.join(&manifest.shards[0].file)).expect("a shard");
    Template { manifest, bytes }
}
