//! Corpora made of token ids, without text; and the rows that `build` makes of them.

use std::path::Path;

use cloze_formats::config::InstanceConfig;
use cloze_formats::dataset::verify_shard;
use cloze_formats::manifest::VocabularyInfo;
use cloze_formats::schema::Layout;
use cloze_formats::{CorpusRow, Dataset, DatasetSpec, DatasetWriter, Kind, Vocabulary};
use cloze_prep::build::build;
use cloze_prep::progress::Progress;

/// Ids below this one are special.
pub const FIRST_TOKEN: u32 = 5;

/// `num_tokens` tokens of which every third one continues a word.
pub fn vocabulary(num_tokens: u32) -> Vocabulary {
    let mut tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned).to_vec();
    tokens.extend((FIRST_TOKEN..num_tokens).map(|id| format!("{}w{id}", if continues(id) { "##" } else { "" })));
    Vocabulary::from_bytes("vocab.txt", tokens.join("\n").into_bytes()).unwrap()
}

/// Whether token `id` of [`vocabulary`] continues a word.
pub fn continues(id: u32) -> bool {
    id >= FIRST_TOKEN && id.is_multiple_of(3)
}

/// A corpus in `dir` of documents given by the lengths of their sentences; `token` says what stands where: (document, tokens before
/// it in all documents).
pub fn corpus(dir: &Path, num_tokens: u32, documents: &[Vec<u16>], token: impl Fn(usize, usize) -> u32) -> Dataset {
    let vocabulary = vocabulary(num_tokens);
    let spec = DatasetSpec {
        writer: "test".to_owned(),
        kind: Kind::Corpus,
        layout: Layout::new(Kind::Corpus, vocabulary.len(), false),
        vocabulary: VocabularyInfo::new(&vocabulary, false),
        configuration: serde_json::Value::Null,
        inputs: serde_json::Value::Null,
    };
    let writer = DatasetWriter::create(dir, spec, &vocabulary).unwrap();
    let mut shard = writer.shard(0).unwrap();
    let mut before = 0;
    for (document, sentence_lengths) in documents.iter().enumerate() {
        let len: usize = sentence_lengths.iter().map(|&l| usize::from(l)).sum();
        let ids: Vec<u32> = (before..before + len).map(|i| token(document, i)).collect();
        before += len;
        shard.push(CorpusRow { document_id: document as u64, token_ids: (&ids).into(), sentence_lengths }).unwrap();
    }
    writer.finish_shard(0, shard, serde_json::Value::Null).unwrap();
    writer.publish(Vec::new()).unwrap();
    Dataset::open(dir).unwrap()
}

/// A row of a pretrain dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// `[CLS] A [SEP] B [SEP]`, clean.
    pub ids: Vec<u32>,
    /// Tokens of `[CLS] A [SEP]`.
    pub a_length: usize,
    /// Whether B is random.
    pub is_random: bool,
    /// Position and what the model sees there; empty where masks are dynamic.
    pub masks: Vec<(usize, u32)>,
}

impl Instance {
    /// Segment A without special tokens.
    pub fn a(&self) -> &[u32] {
        &self.ids[1..self.a_length - 1]
    }

    /// Segment B without special tokens.
    pub fn b(&self) -> &[u32] {
        &self.ids[self.a_length..self.ids.len() - 1]
    }
}

/// All rows of the dataset in `dir`, checked as `verify` does.
pub fn instances(dir: &Path) -> Vec<Instance> {
    let dataset = Dataset::open(dir).unwrap();
    for entry in &dataset.manifest().shards {
        verify_shard(dir, dataset.manifest(), entry).unwrap();
    }
    let read = |row| {
        let row = dataset.pretrain_row(row).unwrap();
        let masks = row.masked.map(|m| m.positions.iter().map(|&p| p.into()).zip(m.inputs.iter()).collect());
        Instance {
            ids: row.input_ids.to_vec(),
            a_length: row.segment_a_length.into(),
            is_random: row.next_sentence_label,
            masks: masks.unwrap_or_default(),
        }
    };
    (0..dataset.len()).map(read).collect()
}

/// The rows that `config` makes of `corpus`.
pub fn built(corpus: &Dataset, config: &InstanceConfig) -> Vec<Instance> {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    build(corpus, config, &out, Progress::silent()).unwrap();
    instances(&out)
}
