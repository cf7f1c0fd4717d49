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

/// Appends the instances of `plan` to `shard`.
///
/// # Errors
/// The corpus is damaged or not the one that was planned for, or the shard cannot be written.
pub(crate) fn materialise(
    corpus: &Dataset,
    config: &InstanceConfig,
    plan: &[Planned],
    shard: &mut ShardWriter,
) -> Result<()> {
    // Ids stay as wide as they are stored: widened ones take twice the room on their way through every check.
    if corpus.vocabulary().len() <= 1 << u16::BITS {
        InstanceMaker::<u16>::new(corpus, config).push_all(plan, shard)
    } else {
        InstanceMaker::<u32>::new(corpus, config).push_all(plan, shard)
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

    fn push_all(mut self, plan: &[Planned], shard: &mut ShardWriter) -> Result<()> {
        plan.iter().try_for_each(|planned| self.push(planned, shard))
    }

    fn push(&mut self, planned: &Planned, shard: &mut ShardWriter) -> Result<()> {
        let special = self.corpus.manifest().vocabulary.special;
        let max_num_tokens = usize::from(self.config.max_seq_length) - 3;
        let mut rng = KeyedRng::new(self.config.seed, Purpose::Truncate, planned.position, 0);
        let (a_len, b_len) = (planned.a_len as usize, planned.b_len() as usize);
        let [a_front, a_back, b_front, b_back] = truncate_pair(a_len, b_len, max_num_tokens, || rng.coin());
        let a = self.tokens(planned.document, planned.a_start, (a_front, a_len - a_back))?;
        let b = self.tokens(planned.b_document, planned.b_start, (b_front, b_len - b_back))?;
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

    /// Tokens `start + within.0 .. start + within.1` of a document.
    fn tokens(&self, document: u32, start: u32, within: (usize, usize)) -> Result<Tokens<'a>> {
        let row = self.corpus.corpus_row(document.into())?;
        let start = start as usize;
        row.token_ids.slice(start + within.0, start + within.1).ok_or_else(|| {
            let problem =
                format!("document {document}: the plan does not fit it; delete the output directory and retry");
            Error::invalid(self.corpus.dir(), problem)
        })
    }
}
