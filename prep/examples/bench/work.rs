//! The inputs, and the work that is measured.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use cloze_formats::config::{Compat, InstanceConfig, MaskingMode};
use cloze_formats::stream::{Cursor, Masking, PretrainGather, Stream, StreamConfig};
use cloze_formats::{Dataset, Vocabulary};
use cloze_prep::build::build;
use cloze_prep::progress::Progress;
use cloze_prep::sentences::Splitter;
use cloze_prep::sources::{SourceFile, SourceKind, documents};
use cloze_prep::tokenize::{TokenizeConfig, tokenize};
use cloze_prep::vocab::{VocabConfig, vocab};
use cloze_prep::wordpiece::{Encoder, WordPiece};

use crate::measure::timed;
use crate::synthetic;

/// Small dumps are repeated up to this much XML.
const DUMP_BYTES: usize = 64 << 20;
const LARGE_BYTES: u64 = 1_000_000_000;
/// The text on which memory is measured by number of threads, in the folder of the inputs, and its size.
pub const MEMORY_TEXT: (&str, u64) = ("memory.txt", 200_000_000);
/// Passes over the text where one takes a fraction of a second.
const PASSES: u64 = 5;
/// The peer is slow: it gets the beginning of the text only.
const PEER_BYTES: usize = 4 << 20;

/// What was prepared for the measurements, for the report.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Inputs {
    /// Bytes of text.
    pub text_bytes: u64,
    /// Files it came from.
    pub text: Vec<PathBuf>,
    /// Bytes of XML in the dump.
    pub dump_bytes: u64,
    /// Bytes of the dump as compressed.
    pub dump_compressed_bytes: u64,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
}

impl Inputs {
    /// Puts text.txt, text.zst, dump.xml.bz2 and vocab.txt into `folder`.
    pub fn prepare(
        text: &[PathBuf],
        dump: Option<&Path>,
        vocabulary: Option<&Path>,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../samples");
        let (text, kind) = match text {
            [] => (vec![samples.join("books")], SourceKind::Books),
            files => (files.to_vec(), SourceKind::Text),
        };
        let prose = read_text(&text, kind)?;
        fs::write(folder.join("text.txt"), &prose)?;
        fs::write(folder.join("text.zst"), zstd::encode_all(prose.as_bytes(), 3)?)?;
        let samples_dump = samples.join("wiki");
        let dump = match dump {
            Some(dump) => dump.to_owned(),
            None => first_dump(&samples_dump)?,
        };
        let (dump_bytes, dump_compressed_bytes) = repeat_dump(&dump, &folder.join("dump.xml.bz2"))?;
        let vocab_path = folder.join("vocab.txt");
        match vocabulary {
            Some(path) => drop(fs::copy(path, &vocab_path).with_context(|| path.display().to_string())?),
            None => drop(vocab(&VocabConfig::default(), &[text_source(folder)], &vocab_path, &Progress::silent())?),
        }
        let vocabulary = Vocabulary::read(&vocab_path)?.len();
        Ok(Self { text_bytes: prose.len() as u64, text, dump_bytes, dump_compressed_bytes, vocabulary })
    }
}

/// Documents of all files, un-wrapped, blank lines between them: what every measurement starts from.
fn read_text(files: &[PathBuf], kind: SourceKind) -> anyhow::Result<String> {
    let mut prose = String::new();
    for source in cloze_prep::sources::expand(kind, files)? {
        for document in documents(&source)? {
            for paragraph in document?.into_document().paragraphs {
                prose.push_str(&paragraph);
                prose.push('\n');
            }
            prose.push('\n');
        }
    }
    Ok(prose)
}

fn first_dump(folder: &Path) -> anyhow::Result<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)?.map(|e| Ok(e?.path())).collect::<std::io::Result<_>>()?;
    files.sort();
    files.into_iter().next().with_context(|| format!("{}: no dump", folder.display()))
}

/// Repeats the pages of a dump up to [`DUMP_BYTES`], compressed as one bzip2 stream; returns (XML, compressed) bytes.
fn repeat_dump(from: &Path, to: &Path) -> anyhow::Result<(u64, u64)> {
    let mut xml = String::new();
    let file = File::open(from).with_context(|| from.display().to_string())?;
    if from.extension().is_some_and(|e| e == "bz2") {
        bzip2::read::MultiBzDecoder::new(file).read_to_string(&mut xml)?;
    } else {
        (&file).read_to_string(&mut xml)?;
    }
    let first = xml.find("<page>").context("a dump has pages")?;
    let last = xml.rfind("</page>").context("a dump has pages")? + "</page>\n".len();
    let (head, pages, tail) = (&xml[..first], &xml[first..last], &xml[last..]);
    let times = DUMP_BYTES.div_ceil(pages.len());
    let mut out = bzip2::write::BzEncoder::new(BufWriter::new(File::create(to)?), bzip2::Compression::best());
    out.write_all(head.as_bytes())?;
    (0..times).try_for_each(|_| out.write_all(pages.as_bytes()))?;
    out.write_all(tail.as_bytes())?;
    out.finish()?.flush()?;
    Ok(((head.len() + times * pages.len() + tail.len()) as u64, fs::metadata(to)?.len()))
}

fn text_source(inputs: &Path) -> SourceFile {
    SourceFile { kind: SourceKind::Text, path: inputs.join("text.txt") }
}

/// Does the work called `name` and prints what it came to as JSON.
pub fn run(name: &str, inputs: &Path) -> anyhow::Result<()> {
    let (work, threads) = match name.rsplit_once('-') {
        Some((work, threads)) => (work, threads.parse()?),
        None => (name, 1),
    };
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let out = tempfile::tempdir_in(inputs)?;
    let measured = match work {
        "copy" => copy(name, inputs),
        "zstd" => decode(name, zstd::Decoder::new(File::open(inputs.join("text.zst"))?)?),
        "bzip2" => decode(name, bzip2::read::MultiBzDecoder::new(File::open(inputs.join("dump.xml.bz2"))?)),
        "tokenizer" => tokenizer(name, inputs),
        "tokenizers" => tokenizers(name, inputs),
        "sentences" => sentences(name, inputs),
        "dynamic" => end_to_end(name, inputs, text_source(inputs), DYNAMIC, out.path()),
        "static" => end_to_end(name, inputs, text_source(inputs), STATIC, out.path()),
        "dump" => dump(name, inputs, out.path()),
        "loader" => loader(name, inputs, out.path()),
        "large" => large(name, inputs, out.path()),
        "memory-text" => end_to_end(name, inputs, memory_source(inputs), STATIC, out.path()),
        "memory-compat" => end_to_end(name, inputs, memory_source(inputs), COMPAT, out.path()),
        "memory-dump" => dump(name, inputs, out.path()),
        _ => bail!("no measurement is called {name}"),
    }?;
    serde_json::to_writer(std::io::stdout().lock(), &measured)?;
    Ok(())
}

type Result = anyhow::Result<crate::measure::Measured>;

fn copy(name: &str, inputs: &Path) -> Result {
    let text = fs::read(inputs.join("text.txt"))?;
    let mut to = vec![0u8; text.len()];
    let times = 1 + (2 << 30) / text.len().max(1);
    timed(name, || {
        for _ in 0..times {
            to.copy_from_slice(std::hint::black_box(&text));
        }
        Ok(((std::hint::black_box(&to).len() * times) as u64, 0))
    })
}

fn decode(name: &str, mut reader: impl Read) -> Result {
    timed(name, || Ok((std::io::copy(&mut reader, &mut std::io::sink())?, 0)))
}

fn tokenizer(name: &str, inputs: &Path) -> Result {
    let text = fs::read_to_string(inputs.join("text.txt"))?;
    let vocabulary = Vocabulary::read(inputs.join("vocab.txt"))?;
    let words = Arc::new(WordPiece::new(&vocabulary, false));
    let mut ids = Vec::new();
    timed(name, || {
        for _ in 0..PASSES {
            // What it remembers is its own: every pass meets the text as new.
            let mut encoder = Encoder::new(Arc::clone(&words));
            for line in text.lines() {
                ids.clear();
                encoder.encode(line, &mut ids);
                std::hint::black_box(&ids);
            }
        }
        Ok((PASSES * text.len() as u64, 0))
    })
}

fn tokenizers(name: &str, inputs: &Path) -> Result {
    use tokenizers::models::wordpiece::WordPiece as Model;
    use tokenizers::normalizers::bert::BertNormalizer;
    use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
    // Its own parallelism would hide the cost of a core.
    tokenizers::utils::parallelism::set_parallelism(false);
    let path = inputs.join("vocab.txt");
    let model = Model::from_file(path.to_str().context("a UTF-8 path")?).unk_token("[UNK]".into()).build();
    let mut tokenizer = tokenizers::Tokenizer::new(model.map_err(anyhow::Error::msg)?);
    tokenizer.with_normalizer(Some(BertNormalizer::new(true, true, None, true)));
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    let text = fs::read_to_string(inputs.join("text.txt"))?;
    let end = text.char_indices().map(|(at, _)| at).take_while(|&at| at <= PEER_BYTES).last().unwrap_or(0);
    let lines: Vec<&str> = text[..end].lines().collect();
    timed(name, || {
        for batch in lines.chunks(1000) {
            std::hint::black_box(tokenizer.encode_batch_fast(batch.to_vec(), false).map_err(anyhow::Error::msg)?);
        }
        Ok((end as u64, 0))
    })
}

fn sentences(name: &str, inputs: &Path) -> Result {
    let text = fs::read_to_string(inputs.join("text.txt"))?;
    let splitter = Splitter::english();
    let mut ranges = Vec::new();
    timed(name, || {
        for line in (0..PASSES).flat_map(|_| text.lines()) {
            ranges.clear();
            splitter.split(line, &mut ranges);
            std::hint::black_box(&ranges);
        }
        Ok((PASSES * text.len() as u64, 0))
    })
}

fn tokenize_into(inputs: &Path, source: SourceFile, out: &Path) -> anyhow::Result<u64> {
    let vocabulary = Vocabulary::read(inputs.join("vocab.txt"))?;
    let summary = tokenize(&TokenizeConfig::default(), &[source], &vocabulary, out, false, &Progress::silent())?;
    Ok(summary.text_bytes)
}

/// How a phase 1 dataset is made: its masks, and which program is re-created.
type How = (MaskingMode, Option<Compat>);
const DYNAMIC: How = (MaskingMode::Dynamic, None);
const STATIC: How = (MaskingMode::Static, None);
const COMPAT: How = (MaskingMode::Static, Some(Compat::Nvidia));

fn end_to_end(name: &str, inputs: &Path, source: SourceFile, (masking, compat): How, out: &Path) -> Result {
    timed(name, || {
        let bytes = tokenize_into(inputs, source, &out.join("corpus"))?;
        let corpus = Dataset::open(out.join("corpus"))?;
        let config = InstanceConfig { compat, ..InstanceConfig::for_phase(1, masking) };
        let manifests = build(&corpus, &config, &out.join("phase1"), Progress::silent())?;
        Ok((bytes, manifests[0].num_rows()))
    })
}

fn dump(name: &str, inputs: &Path, out: &Path) -> Result {
    let path = inputs.join("dump.xml.bz2");
    let xml_bytes = std::io::copy(&mut bzip2::read::MultiBzDecoder::new(File::open(&path)?), &mut std::io::sink())?;
    let source = SourceFile { kind: SourceKind::Wikipedia, path };
    timed(name, || {
        tokenize_into(inputs, source, &out.join("corpus"))?;
        Ok((xml_bytes, 0))
    })
}

/// Global batches of 256 instances, as a trainer takes them, several epochs of the text.
fn loader(name: &str, inputs: &Path, out: &Path) -> Result {
    const INSTANCES: u64 = 1_000_000;
    tokenize_into(inputs, text_source(inputs), &out.join("corpus"))?;
    let config = InstanceConfig::for_phase(1, MaskingMode::Dynamic);
    build(&Dataset::open(out.join("corpus"))?, &config, &out.join("phase1"), Progress::silent())?;
    let dataset = Arc::new(Dataset::open(out.join("phase1"))?);
    let gather = PretrainGather::new(dataset, Masking::Dynamic(config.masking_config()), 0)?;
    let stream_config = StreamConfig { global_batch_size: 256, micro_batch_tokens: 8192, ..StreamConfig::default() };
    let stream = Stream::new(gather, stream_config);
    timed(name, || {
        let (mut cursor, mut tokens, mut instances) = (Cursor::default(), 0, 0);
        while instances < INSTANCES {
            let batch = std::hint::black_box(stream.global_batch(cursor)?);
            (tokens, instances, cursor) = (tokens + batch.num_tokens, instances + batch.num_instances, batch.next);
        }
        // Ids are 16 bits wide on disk.
        Ok((2 * tokens, instances))
    })
}

fn large(name: &str, inputs: &Path, out: &Path) -> Result {
    let path = out.join("large.txt");
    write_text(inputs, &path, LARGE_BYTES)?;
    end_to_end(name, inputs, SourceFile { kind: SourceKind::Text, path }, STATIC, out)
}

fn memory_source(inputs: &Path) -> SourceFile {
    SourceFile { kind: SourceKind::Text, path: inputs.join(MEMORY_TEXT.0) }
}

/// Puts a file of so many bytes of synthetic text beside the inputs.
pub fn write_synthetic(inputs: &Path, (name, bytes): (&str, u64)) -> anyhow::Result<()> {
    write_text(inputs, &inputs.join(name), bytes)
}

fn write_text(inputs: &Path, path: &Path, bytes: u64) -> anyhow::Result<()> {
    let sample = fs::read_to_string(inputs.join("text.txt"))?;
    let mut file = BufWriter::new(File::create(path)?);
    synthetic::write(&mut file, &sample, bytes)?;
    Ok(file.flush()?)
}
