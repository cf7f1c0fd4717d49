//! The draws, one after the other as NVIDIA's script makes them.

use cloze_formats::Dataset;
use cloze_formats::config::InstanceConfig;
use cloze_formats::manifest::VocabularyInfo;
use cloze_formats::masking::{Marks, MaskingConfig};

use super::drawn::{Drawn, Segment};
use super::python_random::PythonRandom;
use crate::error::Result;
use crate::materialise::assemble;
use crate::pairs::{Draws, Pair, PairConfig, SegmentB, pair_document, truncate_pair};
use crate::progress::Progress;
use crate::starts::SentenceStarts;

/// Draws for another document than the one at hand; the last one counts, whatever it is.
const ATTEMPTS: usize = 10;

/// Draws instance after instance.
pub(super) struct Drawer<'a> {
    corpus: &'a Dataset,
    config: &'a InstanceConfig,
    rng: PythonRandom,
    /// The documents in the script's order.
    documents: Vec<u32>,
}

impl<'a> Drawer<'a> {
    /// Shuffles the documents.
    pub fn new(corpus: &'a Dataset, config: &'a InstanceConfig) -> Self {
        let mut rng = PythonRandom::new(config.seed);
        let mut documents: Vec<u32> = (0..corpus.len() as u32).collect();
        rng.shuffle(&mut documents);
        Self { corpus, config, rng, documents }
    }

    /// Emits all instances of all duplicates.
    pub fn draw(&mut self, progress: Progress, mut emit: impl FnMut(&Drawn) -> Result<()>) -> Result<()> {
        let config = PairConfig {
            max_num_tokens: usize::from(self.config.max_seq_length) - 3,
            short_seq_prob: self.config.short_seq_prob,
        };
        let mut maker = Maker {
            corpus: self.corpus,
            starts: SentenceStarts::of(self.corpus)?,
            documents: &self.documents,
            max_num_tokens: config.max_num_tokens,
            masker: NvidiaMasker::new(self.config.masking_config(), &self.corpus.manifest().vocabulary),
            input_ids: Vec::new(),
            drawn: Drawn::default(),
        };
        let num_documents = self.documents.len() as u64;
        let mut bar = progress.count("drawing", num_documents * u64::from(self.config.dupe_factor));
        for _ in 0..self.config.dupe_factor {
            for index in 0..self.documents.len() {
                let lengths = self.corpus.corpus_row(self.documents[index].into())?.sentence_lengths;
                let offsets: Vec<u32> = offsets(lengths);
                pair_document(lengths, config, &mut self.rng, |pair, rng| {
                    emit(maker.make(index, &offsets, pair, rng)?)
                })?;
                if index % 1024 == 1023 {
                    bar.add(1024);
                }
            }
        }
        Ok(())
    }

    /// The last draw: the instance of each row.
    pub fn order(mut self, num_instances: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..num_instances).collect();
        self.rng.shuffle(&mut order);
        order
    }
}

/// First token of each sentence, and the number of all tokens.
fn offsets(sentence_lengths: &[u16]) -> Vec<u32> {
    let mut sum = 0;
    let mut offsets = Vec::with_capacity(sentence_lengths.len() + 1);
    offsets.push(0);
    offsets.extend(sentence_lengths.iter().map(|&length| {
        sum += u32::from(length);
        sum
    }));
    offsets
}

/// Makes one instance of a pair; reusable.
struct Maker<'a> {
    corpus: &'a Dataset,
    starts: SentenceStarts,
    documents: &'a [u32],
    max_num_tokens: usize,
    masker: NvidiaMasker,
    input_ids: Vec<u32>,
    drawn: Drawn,
}

impl Maker<'_> {
    /// `index`: the document's place in the script's order; `offsets`: of its sentences.
    fn make(&mut self, index: usize, offsets: &[u32], pair: Pair, rng: &mut PythonRandom) -> Result<&Drawn> {
        let document = self.documents[index];
        let segment = |sentences: std::ops::Range<usize>| {
            let (start, end) = (offsets[sentences.start], offsets[sentences.end]);
            Segment { document, start, len: end - start }
        };
        let a = segment(pair.a);
        let (b, is_random) = match pair.b {
            SegmentB::Next(sentences) => (segment(sentences), false),
            SegmentB::Random { target } => self.random_segment(index, target, rng)?,
        };
        let dropped = truncate_pair(a.len as usize, b.len as usize, self.max_num_tokens, || rng.coin());
        let [a_front, a_back, b_front, b_back] = dropped;
        self.drawn.a = a.shortened(a_front, a_back);
        self.drawn.b = b.shortened(b_front, b_back);
        self.drawn.is_random = is_random;
        let special = self.corpus.manifest().vocabulary.special;
        let (a, b) = (self.drawn.a.tokens(self.corpus)?, self.drawn.b.tokens(self.corpus)?);
        assemble(&mut self.input_ids, special, a, b);
        self.masker.mask(&self.input_ids, rng, &mut self.drawn);
        Ok(&self.drawn)
    }

    /// A random place of a random document, and whether it is another one than the one at `index`.
    fn random_segment(&self, index: usize, target: usize, rng: &mut PythonRandom) -> Result<(Segment, bool)> {
        let mut other = index;
        for _ in 0..ATTEMPTS {
            other = rng.below(self.documents.len() as u64) as usize;
            if other != index {
                break;
            }
        }
        let document = self.documents[other];
        let lengths = self.corpus.corpus_row(document.into())?.sentence_lengths;
        let from = rng.below(lengths.len() as u64) as usize;
        let (start, len) = self.starts.segment(document.into(), lengths, from, target);
        Ok((Segment { document, start, len }, other != index))
    }
}

/// Masks with the script's draws: all candidates are shuffled, whatever the number of predictions.
struct NvidiaMasker {
    config: MaskingConfig,
    vocabulary: VocabularyInfo,
    candidates: Vec<u16>,
    marks: Marks,
}

impl NvidiaMasker {
    fn new(config: MaskingConfig, vocabulary: &VocabularyInfo) -> Self {
        Self { config, vocabulary: vocabulary.clone(), candidates: Vec::new(), marks: Marks::default() }
    }

    /// `input_ids`: `[S]`. No candidates are `[CLS]` and `[SEP]`, not even those that stand in the text.
    fn mask(&mut self, input_ids: &[u32], rng: &mut PythonRandom, drawn: &mut Drawn) {
        let special = self.vocabulary.special;
        let is_candidate = |(_, id): &(u16, &u32)| ![special.cls, special.sep].contains(id);
        self.candidates.clear();
        self.candidates.extend((0u16..).zip(input_ids).filter(is_candidate).map(|(position, _)| position));
        rng.shuffle(&mut self.candidates);
        self.marks.clear(input_ids.len());
        for &position in self.candidates.iter().take(self.config.num_predictions(input_ids.len())) {
            let seen = if rng.random() < 0.8 {
                special.mask
            } else if rng.random() < 0.5 {
                input_ids[usize::from(position)]
            } else {
                rng.below(self.vocabulary.num_tokens.into()) as u32
            };
            self.marks.set(position, seen);
        }
        drawn.positions.clear();
        drawn.inputs.clear();
        self.marks.for_each(|position, seen| {
            drawn.positions.push(position);
            drawn.inputs.push(seen);
        });
    }
}
