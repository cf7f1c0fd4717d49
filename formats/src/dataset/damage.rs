//! 2,000 damaged datasets: every damage is an error or changes nothing that is read, and none is a panic.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::json;

use super::tests::{spec, vocabulary};
use super::*;
use crate::Tokens;
use crate::checksum::{Crc32c, self_checksum};
use crate::manifest::Source;
use crate::row::{Label, StaticMask};

/// Damaged datasets a kind.
const CASES: usize = 500;
const KINDS: [Kind; 4] = [Kind::Corpus, Kind::Pretrain, Kind::Squad, Kind::Glue];

/// A generator of the test's own: what is tested must not decide what is tested.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n.max(1)
    }
}

/// A small dataset of `kind`, in two shards.
fn dataset(kind: Kind, dir: &Path) {
    let mut writer = DatasetWriter::create(dir, spec(kind, true), &vocabulary()).unwrap();
    if kind == Kind::Squad {
        writer.write_file(EXAMPLES, b"{\"id\": \"q0\", \"question\": \"?\", \"context\": \"x\"}\n").unwrap();
    }
    let mut random = Random(kind as u64);
    for index in 0..2 {
        let mut shard = writer.shard(index).unwrap();
        for i in 0..40 {
            let mut ids = vec![2];
            let (a, b) = (2 + random.below(9), 2 + random.below(9));
            ids.extend((0..a).map(|_| 5 + random.below(195) as u32));
            ids.push(3);
            ids.extend((0..b).map(|_| 5 + random.below(195) as u32));
            ids.push(3);
            push_row(kind, &mut shard, &ids, a, b, i);
        }
        writer.finish_shard(index, shard, json!(null)).unwrap();
    }
    let name = "somewhere".to_owned();
    let source = Source { name, format: "text".to_owned(), bytes: 1, sha256: "0".repeat(64), documents: 80 };
    writer.publish(vec![source]).unwrap();
}

fn push_row(kind: Kind, shard: &mut crate::shard::ShardWriter, ids: &[u32], a: usize, b: usize, i: u64) {
    let (input_ids, segment_a_length) = (Tokens::from(ids), a as u16 + 2);
    let pushed = match kind {
        Kind::Corpus => {
            let text: Vec<u32> = ids.iter().copied().filter(|&id| id >= 5).collect();
            let sentence_lengths = [a as u16, b as u16];
            let token_ids = Tokens::from(&text);
            shard.push(CorpusRow { document_id: i, token_ids, sentence_lengths: &sentence_lengths })
        }
        Kind::Pretrain => {
            let inputs = [4u32, 9];
            let masked = Some(StaticMask { positions: &[1, 2], inputs: inputs[..].into() });
            shard.push(PretrainRow { input_ids, segment_a_length, next_sentence_label: i.is_multiple_of(3), masked })
        }
        Kind::Squad => {
            let offsets: Vec<u32> = (0..b as u32).collect();
            shard.push(SquadRow {
                input_ids,
                segment_a_length,
                start_position: segment_a_length,
                end_position: segment_a_length + 1,
                is_impossible: false,
                example_id: &format!("q{i}"),
                window: 0,
                context_starts: &offsets,
                context_ends: &offsets,
                max_context: &vec![1; b],
            })
        }
        Kind::Glue => {
            shard.push(GlueRow { input_ids, segment_a_length, label: Some(Label::Class(i as i32 % 2)), row_id: i })
        }
    };
    pushed.unwrap();
}

/// Everything that can be read of the dataset in `dir`, or the first error.
fn read_all(dir: &Path) -> Result<String> {
    let dataset = Dataset::open(dir)?;
    let mut text = format!("{:?}{:?}", dataset.manifest(), dataset.vocabulary().tokens());
    for index in 0..dataset.len() {
        text += &format!("{:?}{}", dataset.row(index)?, dataset.row_length(index)?);
    }
    for entry in &dataset.manifest().shards {
        text += &format!("{:?}", verify_shard(dir, dataset.manifest(), entry)?);
    }
    Ok(text)
}

/// Damages `bytes` in one of many ways; `others` are files that may take their place.
fn damage(bytes: &mut Vec<u8>, others: &[&Vec<u8>], random: &mut Random) -> String {
    let (len, at) = (bytes.len(), random.below(bytes.len()));
    let page = at..(at + [16, 512, 4096][random.below(3)]).min(len);
    match random.below(8) {
        0 | 1 => {
            let flips = 1 + random.below(3);
            for _ in 0..flips {
                bytes[random.below(len)] ^= 1 << random.below(8);
            }
            format!("{flips} bits flipped")
        }
        2 => {
            bytes.truncate(at);
            format!("cut to {at} of {len} bytes")
        }
        3 => {
            bytes.extend((0..1 + random.below(64)).map(|i| i as u8));
            "bytes at the end".to_owned()
        }
        4 => {
            bytes[page.clone()].fill(0);
            format!("zeros in {page:?}")
        }
        5 => {
            page.clone().for_each(|i| bytes[i] = random.below(256) as u8);
            format!("noise in {page:?}")
        }
        6 => {
            let from = random.below(len - page.len() + 1);
            bytes.copy_within(from..from + page.len(), page.start);
            format!("{page:?} copied from {from}")
        }
        _ => {
            bytes.clone_from(others[random.below(others.len())]);
            "another file's content".to_owned()
        }
    }
}

type Files = BTreeMap<String, Vec<u8>>;

fn files(dir: &Path) -> Files {
    let entries = fs::read_dir(dir).unwrap().map(|e| e.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
}

fn write(path: &Path, bytes: &[u8]) {
    // A new file each time: truncating one that a reader of an earlier case might have mapped is not allowed.
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// `all`: the four datasets, one of each kind, in directories of that name.
fn each_kind(mut test: impl FnMut(&Path, &Files, &[Files])) {
    let root = tempfile::tempdir().unwrap();
    let dirs = KINDS.map(|kind| root.path().join(kind.to_string()));
    KINDS.into_iter().zip(&dirs).for_each(|(kind, dir)| dataset(kind, dir));
    let all: Vec<Files> = dirs.iter().map(|dir| files(dir)).collect();
    dirs.iter().zip(&all).for_each(|(dir, own)| test(dir, own, &all));
}

#[test]
fn no_damage_is_read_as_something_else() {
    let mut errors = 0;
    each_kind(|dir, own, all| {
        let whole = read_all(dir).unwrap();
        let others: Vec<&Vec<u8>> = all.iter().flat_map(BTreeMap::values).collect();
        let mut random = Random(own.len() as u64 + whole.len() as u64);
        for case in 0..CASES {
            let (name, good) = own.iter().nth(random.below(own.len())).unwrap();
            let path = dir.join(name);
            let mut bad = good.clone();
            let what = damage(&mut bad, &others, &mut random);
            write(&path, &bad);
            match read_all(dir) {
                Ok(_) if bad != *good => panic!("{}, case {case}: {what}: read as if it were whole", path.display()),
                Ok(read) => assert!(read == whole, "{}, case {case}: {what}", path.display()),
                Err(error) => {
                    errors += 1;
                    let message = error.to_string();
                    assert!(bad != *good, "{message}");
                    assert!(message.starts_with(&dir.display().to_string()) && !message.contains('\n'), "{message}");
                }
            }
            write(&path, good);
        }
        assert_eq!(read_all(dir).unwrap(), whole);
    });
    assert!(errors > CASES * 4 * 9 / 10, "only {errors} damages were damages");
}

#[test]
fn files_that_changed_places_or_are_gone_are_errors() {
    each_kind(|dir, own, _| {
        let names: Vec<&String> = own.keys().collect();
        for (i, &first) in names.iter().enumerate() {
            for &second in &names[i + 1..] {
                write(&dir.join(first), &own[second]);
                write(&dir.join(second), &own[first]);
                read_all(dir).expect_err(&format!("{first} and {second} changed places"));
                [first, second].into_iter().for_each(|name| write(&dir.join(name), &own[name]));
            }
            fs::remove_file(dir.join(first)).unwrap();
            read_all(dir).expect_err(&format!("{first} is gone"));
            fs::write(dir.join(first), &own[first]).unwrap();
        }
    });
}

/// A manifest whose checksum fits whatever it says: numbers that contradict each other or the files must not lead to a panic.
#[test]
fn manifests_that_lie_do_not_end_the_reader() {
    const NUMBERS: [&str; 9] =
        ["0", "1", "7", "4096", "4294967296", "9223372036854775807", "18446744073709551615", "-1", "1e30"];
    each_kind(|dir, own, _| {
        let text = String::from_utf8(own[MANIFEST].clone()).unwrap();
        let is_digit = |c: char| c.is_ascii_digit();
        // Numbers stand alone in their values; those within strings belong to hashes and names.
        let starts: Vec<usize> =
            text.match_indices(": ").map(|m| m.0 + 2).filter(|&i| text[i..].starts_with(is_digit)).collect();
        let mut read = 0;
        for &start in &starts {
            let end = start + text[start..].find(|c| !is_digit(c)).unwrap();
            for number in NUMBERS {
                let lie = format!("{}{number}{}", &text[..start], &text[end..]);
                let zeros = lie.find("\"checksum\": \"").unwrap() + 13;
                let checksum = self_checksum(lie.clone().into_bytes()).to_string();
                let lie = format!("{}{checksum}{}", &lie[..zeros], &lie[zeros + 8..]);
                write(&dir.join(MANIFEST), lie.as_bytes());
                read += usize::from(read_all(dir).is_ok());
            }
        }
        // Sizes of sources, statistics and the configuration are the manifest's word alone.
        assert!(
            read < starts.len() * NUMBERS.len() / 2,
            "{read} lies of {} were believed",
            starts.len() * NUMBERS.len()
        );
        write(&dir.join(MANIFEST), text.as_bytes());
        read_all(dir).unwrap();
    });
}

/// Shards whose checksums fit whatever is in them, as only an attacker makes them: decoding is reached, and must not panic.
///
/// Every byte outside the rows is changed in two ways (which is how misplaced buffers and halves of values were found), then
/// bytes anywhere at random.
#[test]
fn shards_that_lie_do_not_end_the_reader() {
    let (mut refused, mut cases, mut panics) = (0, 0, Vec::new());
    each_kind(|dir, own, _| {
        let whole = Manifest::read(dir).unwrap();
        let entry = &whole.shards[0];
        let (head, tail) = (entry.batches[0].offset as usize, entry.tail_offset as usize);
        let good = &own[&entry.file];
        let mut check = |edits: &[(usize, u8)]| {
            cases += 1;
            match std::panic::catch_unwind(|| read_forged(dir, &whole, good, edits)) {
                Ok(read) => refused += usize::from(read.is_err()),
                Err(_) => panics.push(format!("{}, {head}..{tail}: {edits:?}", whole.kind)),
            }
        };
        for at in (0..(head + 1024).min(tail)).chain(tail..good.len()) {
            check(&[(at, 255)]);
            check(&[(at, good[at].wrapping_add(1))]);
        }
        let mut random = Random(own.len() as u64);
        for _ in 0..CASES {
            let mut edit = |_| {
                let at = random.below(good.len());
                (at, [random.below(256) as u8, 0, 1, good[at] ^ 1 << random.below(8)][random.below(4)])
            };
            check(&[edit(0), edit(1)]);
        }
    });
    assert!(panics.is_empty(), "{} panics: {panics:#?}", panics.len());
    assert!(refused > cases / 4, "only {refused} of {cases} were refused");
}

/// Reads the first shard with `edits` (where, what) and checksums that fit.
fn read_forged(dir: &Path, whole: &Manifest, good: &[u8], edits: &[(usize, u8)]) -> Result<Statistics> {
    let (mut manifest, mut bad) = (whole.clone(), good.to_vec());
    edits.iter().for_each(|&(at, byte)| bad[at] = byte);
    let entry = &mut manifest.shards[0];
    let (head, tail) = (entry.batches[0].offset as usize, entry.tail_offset as usize);
    entry.head_crc32c = Crc32c::of(&bad[..head]);
    entry.batches[0].crc32c = Crc32c::of(&bad[head..tail]);
    entry.tail_crc32c = Crc32c::of(&bad[tail..]);
    write(&dir.join(&entry.file), &bad);
    verify_shard(dir, &manifest, &manifest.shards[0])
}
