//! Rows of the four kinds, the same types for writing and for reading (zero-copy).

/// Token ids as stored: 16 bits wide where the vocabulary allows it.
#[derive(Clone, Copy, Debug)]
pub enum Tokens<'a> {
    /// Vocabularies of at most 65,536 tokens.
    U16(&'a [u16]),
    /// Larger vocabularies.
    U32(&'a [u32]),
}

impl<'a> Tokens<'a> {
    /// Number of tokens.
    pub fn len(&self) -> usize {
        match self {
            Self::U16(t) => t.len(),
            Self::U32(t) => t.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The token at `index`.
    pub fn get(&self, index: usize) -> Option<u32> {
        match self {
            Self::U16(t) => t.get(index).map(|&x| x.into()),
            Self::U32(t) => t.get(index).copied(),
        }
    }

    /// Tokens `start..end`, `None` where that is out of range.
    pub fn slice(&self, start: usize, end: usize) -> Option<Tokens<'a>> {
        match self {
            Self::U16(t) => t.get(start..end).map(Tokens::U16),
            Self::U32(t) => t.get(start..end).map(Tokens::U32),
        }
    }

    /// The ids in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u32> + 'a {
        let this = *self;
        (0..this.len()).map(move |i| match this {
            Self::U16(t) => t[i].into(),
            Self::U32(t) => t[i],
        })
    }

    /// Appends the ids to `out`.
    pub fn append_to<T: From<u16> + TryFrom<u32, Error: std::fmt::Debug>>(&self, out: &mut Vec<T>) {
        match self {
            Self::U16(t) => out.extend(t.iter().map(|&x| T::from(x))),
            Self::U32(t) => out.extend(t.iter().map(|&x| T::try_from(x).expect("a token id fits its destination"))),
        }
    }

    /// The largest id, `None` where there are none. One vectorised pass.
    pub fn max(&self) -> Option<u32> {
        match self {
            Self::U16(t) => t.iter().copied().reduce(u16::max).map(u32::from),
            Self::U32(t) => t.iter().copied().reduce(u32::max),
        }
    }

    /// How many of the tokens are one of `ids`. One vectorised pass.
    pub fn count_of<const N: usize>(&self, ids: [u32; N]) -> usize {
        match self {
            Self::U16(t) if ids.iter().all(|&id| id <= u16::MAX.into()) => count_of(t, ids.map(|id| id as u16)),
            Self::U16(_) => self.iter().filter(|id| ids.contains(id)).count(),
            Self::U32(t) => count_of(t, ids),
        }
    }

    /// The ids, copied.
    pub fn to_vec(&self) -> Vec<u32> {
        self.iter().collect()
    }
}

/// Counts in 16 bits as long as they suffice: so the compiler keeps as many lanes as there are in the ids themselves.
fn count_of<T: Copy + PartialEq, const N: usize>(tokens: &[T], ids: [T; N]) -> usize {
    let count = |chunk: &[T]| {
        chunk.iter().map(|token| u16::from(ids.iter().fold(false, |found, id| found | (token == id)))).sum::<u16>()
    };
    tokens.chunks(usize::from(u16::MAX)).map(|chunk| usize::from(count(chunk))).sum()
}

impl PartialEq for Tokens<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::U16(a), Self::U16(b)) => a == b,
            (Self::U32(a), Self::U32(b)) => a == b,
            _ => self.iter().eq(other.iter()),
        }
    }
}

impl<'a> From<&'a [u32]> for Tokens<'a> {
    fn from(ids: &'a [u32]) -> Self {
        Self::U32(ids)
    }
}

impl<'a> From<&'a Vec<u32>> for Tokens<'a> {
    fn from(ids: &'a Vec<u32>) -> Self {
        Self::U32(ids)
    }
}

/// A width that token ids are stored in.
pub trait TokenId: Copy + From<u16> + TryFrom<u32, Error: std::fmt::Debug> + 'static {
    /// The ids as a row has them.
    fn tokens(ids: &[Self]) -> Tokens<'_>;
}

impl TokenId for u16 {
    fn tokens(ids: &[Self]) -> Tokens<'_> {
        Tokens::U16(ids)
    }
}

impl TokenId for u32 {
    fn tokens(ids: &[Self]) -> Tokens<'_> {
        Tokens::U32(ids)
    }
}

/// A tokenized document.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CorpusRow<'a> {
    /// Ascending in input order, with gaps: slice in the upper 32 bits, number within it in the lower ones.
    pub document_id: u64,
    /// All sentences, one after the other, without special tokens.
    pub token_ids: Tokens<'a>,
    /// Tokens per sentence, none of them 0; they add up to `token_ids.len()`.
    pub sentence_lengths: &'a [u16],
}

/// A pre-training instance: `[CLS] A [SEP] B [SEP]`, always the clean text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PretrainRow<'a> {
    /// `[S]`, special tokens included.
    pub input_ids: Tokens<'a>,
    /// Tokens of segment A, `[CLS]` and the first `[SEP]` included.
    pub segment_a_length: u16,
    /// True where B is random, false where B follows A.
    pub next_sentence_label: bool,
    /// The masks, where they were decided when the shard was built.
    pub masked: Option<StaticMask<'a>>,
}

/// Positions to predict and what the model sees there; the label is `input_ids` at the position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StaticMask<'a> {
    /// `[P]`, ascending, within `input_ids`.
    pub positions: &'a [u16],
    /// `[P]`
    pub inputs: Tokens<'a>,
}

/// One window of a SQuAD question and its context: `[CLS] question [SEP] window [SEP]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SquadRow<'a> {
    /// `[S]`, special tokens included.
    pub input_ids: Tokens<'a>,
    /// Tokens of `[CLS] question [SEP]`.
    pub segment_a_length: u16,
    /// Index of the answer's first token in `input_ids`; 0 where the window does not hold the answer.
    pub start_position: u16,
    /// Index of the answer's last token; 0 where the window does not hold the answer.
    pub end_position: u16,
    /// Whether the question has no answer in the context (SQuAD v2).
    pub is_impossible: bool,
    /// The question's id, as in `examples.jsonl`.
    pub example_id: &'a str,
    /// Number of the window within the question, from 0.
    pub window: u16,
    /// For each token of the window (segment B less `[SEP]`): first character in the context, in Unicode scalars.
    pub context_starts: &'a [u32],
    /// One past the last character.
    pub context_ends: &'a [u32],
    /// 1 where this window gives the token its longest context, else 0.
    pub max_context: &'a [u8],
}

/// What a GLUE example is to be told as.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Label {
    /// A class, from 0.
    Class(i32),
    /// A finite number, in regression tasks.
    Score(f32),
}

/// A GLUE example: `[CLS] A [SEP]` or `[CLS] A [SEP] B [SEP]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GlueRow<'a> {
    /// `[S]`, special tokens included.
    pub input_ids: Tokens<'a>,
    /// Tokens of segment A, `[CLS]` and its `[SEP]` included; all of them for single sentences.
    pub segment_a_length: u16,
    /// Absent in test sets.
    pub label: Option<Label>,
    /// Row of the input file, from 0, header not counted.
    pub row_id: u64,
}

/// A row of any kind.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the variants are the kinds")]
pub enum Row<'a> {
    Corpus(CorpusRow<'a>),
    Pretrain(PretrainRow<'a>),
    Squad(SquadRow<'a>),
    Glue(GlueRow<'a>),
}

impl<'a> Row<'a> {
    /// The token column.
    pub fn tokens(&self) -> Tokens<'a> {
        match self {
            Self::Corpus(r) => r.token_ids,
            Self::Pretrain(r) => r.input_ids,
            Self::Squad(r) => r.input_ids,
            Self::Glue(r) => r.input_ids,
        }
    }
}

macro_rules! into_row {
    ($($row:ident => $kind:ident),*) => {
        $(impl<'a> From<$row<'a>> for Row<'a> {
            fn from(row: $row<'a>) -> Self {
                Self::$kind(row)
            }
        })*
    };
}
into_row!(CorpusRow => Corpus, PretrainRow => Pretrain, SquadRow => Squad, GlueRow => Glue);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_both_widths_count_and_compare_alike() {
        let wide: Vec<u32> = (0..200_000).map(|i| i % 700).collect();
        let narrow: Vec<u16> = wide.iter().map(|&id| id as u16).collect();
        let (wide, narrow) = (Tokens::U32(&wide), Tokens::U16(&narrow));
        for tokens in [wide, narrow] {
            assert_eq!(tokens.max(), Some(699));
            assert_eq!(tokens.count_of([3, 699]), tokens.iter().filter(|id| [3, 699].contains(id)).count());
            assert_eq!(tokens.count_of([3, 1 << 20]), tokens.iter().filter(|&id| id == 3).count());
        }
        assert_eq!(wide, narrow);
        assert_ne!(wide.slice(0, 5), narrow.slice(1, 6));
        assert_eq!(Tokens::U16(&[]).max(), None);
    }
}
