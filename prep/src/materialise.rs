//! The second pass of `build`: descriptors to rows.

use cloze_formats::config::{InstanceConfig, MaskingMode};
use cloze_formats::masking::Masker;
use cloze_formats::rng::{KeyedRng, Purpose};
use cloze_formats::row::TokenId;
use cloze_formats::shard::ShardWriter;
use cloze_formats::vocabulary::SpecialIds;
use cloze_formats::{Dataset, PretrainRow, StaticMask, Tokens};

use crate::error::{Error, Result};
use crate::pairs::truncate_pair;
use crate::plan::Planned;

/// Instances gathered at once.
pub(crate) const GROUP: usize = 16;
/// Rows after which progress is told.
const ROWS_PER_STEP: u64 = 1_024;

/// Appends the instances of the `parts` of a plan to `shard`; tells `made` of the rows since it last did.
///
/// # Errors
/// The corpus is damaged or not the one that was planned for, or the shard cannot be written.
pub(crate) fn materialise(
    corpus: &Dataset,
    config: &InstanceConfig,
    parts: impl Iterator<Item = Result<Vec<Planned>>>,
    shard: &mut ShardWriter,
    made: impl FnMut(u64),
) -> Result<()> {
    let mut steps = Steps::new(made);
    // Ids stay as wide as they are stored: widened ones take twice the room on their way through every check.
    if corpus.vocabulary().len() <= 1 << u16::BITS {
        InstanceMaker::<u16>::new(corpus, config).push_all(parts, shard, &mut steps)
    } else {
        InstanceMaker::<u32>::new(corpus, config).push_all(parts, shard, &mut steps)
    }
}

/// Tells of rows now and then: a bar that all threads share is not for each row.
pub(crate) struct Steps<F: FnMut(u64)> {
    made: F,
    untold: u64,
}

impl<F: FnMut(u64)> Steps<F> {
    pub(crate) fn new(made: F) -> Self {
        Self { made, untold: 0 }
    }

    pub(crate) fn add(&mut self, rows: u64) {
        self.untold += rows;
        if self.untold >= ROWS_PER_STEP {
            (self.made)(std::mem::take(&mut self.untold));
        }
    }
}

impl<F: FnMut(u64)> Drop for Steps<F> {
    fn drop(&mut self) {
        (self.made)(self.untold);
    }
}

/// Puts `[CLS] A [SEP] B [SEP]` into `input_ids`; returns the number of tokens of `[CLS] A [SEP]`.
pub(crate) fn assemble<T: TokenId>(input_ids: &mut Vec<T>, special: SpecialIds, a: Tokens<'_>, b: Tokens<'_>) -> u16 {
    let [cls, sep] =
        [special.cls, special.sep].map(|id| T::try_from(id).expect("ids are as wide as the vocabulary asks"));
    input_ids.clear();
    input_ids.push(cls);
    a.append_to(input_ids);
    input_ids.push(sep);
    let segment_a_length = input_ids.len() as u16;
    b.append_to(input_ids);
    input_ids.push(sep);
    segment_a_length
}

/// Turns descriptors into rows: gather, truncate, mask.
struct InstanceMaker<'a, T> {
    corpus: &'a Dataset,
    config: &'a InstanceConfig,
    masker: Option<Masker>,
    input_ids: Vec<T>,
    positions: Vec<u16>,
    inputs: Vec<T>,
}

impl<'a, T: TokenId> InstanceMaker<'a, T> {
    fn new(corpus: &'a Dataset, config: &'a InstanceConfig) -> Self {
        let masker = match config.masking {
            MaskingMode::Static => Some(Masker::new(config.masking_config(), corpus.vocabulary())),
            MaskingMode::Dynamic => None,
        };
        Self { corpus, config, masker, input_ids: Vec::new(), positions: Vec::new(), inputs: Vec::new() }
    }

    fn push_all(
        mut self,
        parts: impl Iterator<Item = Result<Vec<Planned>>>,
        shard: &mut ShardWriter,
        steps: &mut Steps<impl FnMut(u64)>,
    ) -> Result<()> {
        let mut segments = Vec::with_capacity(GROUP);
        for plan in parts {
            for group in plan?.chunks(GROUP) {
                segments.clear();
                for planned in group {
                    segments.push(self.segments(planned)?);
                }
                touch(&segments);
                for (planned, &segments) in group.iter().zip(&segments) {
                    self.push(planned, segments, shard)?;
                }
                steps.add(group.len() as u64);
            }
        }
        Ok(())
    }

    /// Appends the instance of `planned` with its segments A and B, not truncated yet.
    fn push(&mut self, planned: &Planned, [a, b]: [Tokens<'a>; 2], shard: &mut ShardWriter) -> Result<()> {
        let special = self.corpus.manifest().vocabulary.special;
        let max_num_tokens = usize::from(self.config.max_seq_length) - 3;
        let mut rng = KeyedRng::new(self.config.seed, Purpose::Truncate, planned.position, 0);
        let [a_front, a_back, b_front, b_back] = truncate_pair(a.len(), b.len(), max_num_tokens, || rng.coin());
        let a = a.slice(a_front, a.len() - a_back).expect("at most all of it was dropped");
        let b = b.slice(b_front, b.len() - b_back).expect("at most all of it was dropped");
        let segment_a_length = assemble(&mut self.input_ids, special, a, b);
        let masked = match &mut self.masker {
            None => None,
            Some(masker) => {
                let mut rng = KeyedRng::new(self.config.seed, Purpose::StaticMask, planned.position, 0);
                let chosen = masker.mask(T::tokens(&self.input_ids), segment_a_length, &mut rng);
                self.positions.clear();
                self.positions.extend(chosen.iter().map(|c| c.0));
                self.inputs.clear();
                let id = |id| T::try_from(id).expect("ids are as wide as the vocabulary asks");
                self.inputs.extend(chosen.iter().map(|c| id(c.1)));
                Some(StaticMask { positions: &self.positions, inputs: T::tokens(&self.inputs) })
            }
        };
        shard.push(PretrainRow {
            input_ids: T::tokens(&self.input_ids),
            segment_a_length,
            next_sentence_label: planned.is_random(),
            masked,
        })?;
        Ok(())
    }

    /// Segments A and B, not truncated yet.
    fn segments(&self, planned: &Planned) -> Result<[Tokens<'a>; 2]> {
        let a = self.tokens(planned.document, planned.a_start, planned.a_len)?;
        Ok([a, self.tokens(planned.b_document, planned.b_start, planned.b_len())?])
    }

    /// Tokens `start..start + len` of a document.
    fn tokens(&self, document: u32, start: u32, len: u32) -> Result<Tokens<'a>> {
        let (start, len) = (start as usize, len as usize);
        self.corpus.row_tokens(document.into())?.slice(start, start + len).ok_or_else(|| {
            let problem =
                format!("document {document}: the plan does not fit it; delete the output directory and retry");
            Error::invalid(self.corpus.dir(), problem)
        })
    }
}

/// Reads a token of each cache line of `segments`, as far as an instance of usual length takes.
///
/// They lie anywhere in the corpus. Read one after the other as they are used, each would be waited for; these loads do
/// not depend on each other, and the processor has many of them under way.
pub(crate) fn touch(segments: &[[Tokens<'_>; 2]]) {
    const TOKENS_PER_LINE: usize = 32;
    const LONGEST: usize = 128;
    let lines = segments
        .as_flattened()
        .iter()
        .flat_map(|tokens| (0..tokens.len().min(LONGEST)).step_by(TOKENS_PER_LINE).filter_map(|i| tokens.get(i)));
    std::hint::black_box(lines.fold(0, |all, token| all ^ token));
}
