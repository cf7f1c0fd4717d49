//! Packed sequences.

use crate::row::Tokens;

/// Sequences laid end to end, without padding. T tokens, B sequences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequences {
    /// `[T]`
    pub input_ids: Vec<i64>,
    /// `[B + 1]`: sequence `b` is `cu_seqlens[b] .. cu_seqlens[b + 1]`.
    pub cu_seqlens: Vec<i32>,
    /// `[T]`: 0 in segment A, 1 in segment B.
    pub segment_ids: Vec<i64>,
    /// `[T]`: from 0 in each sequence.
    pub position_ids: Vec<i64>,
    /// `[B]`: the row of the dataset that each sequence is.
    pub rows: Vec<u64>,
}

impl Sequences {
    /// Number of sequences, B.
    pub fn num_sequences(&self) -> usize {
        self.rows.len()
    }

    /// Number of tokens, T.
    pub fn num_tokens(&self) -> usize {
        self.input_ids.len()
    }

    /// Length of the longest sequence, S.
    pub fn max_len(&self) -> usize {
        self.cu_seqlens.windows(2).map(|w| (w[1] - w[0]) as usize).max().unwrap_or(0)
    }

    /// Appends a sequence; `segment_a_length` of its tokens are segment A.
    pub(super) fn push(&mut self, row: u64, tokens: Tokens<'_>, segment_a_length: u16) {
        let len = tokens.len();
        let a = usize::from(segment_a_length).min(len);
        tokens.append_to(&mut self.input_ids);
        self.segment_ids.extend(std::iter::repeat_n(0, a));
        self.segment_ids.extend(std::iter::repeat_n(1, len - a));
        self.position_ids.extend(0..len as i64);
        if self.cu_seqlens.is_empty() {
            self.cu_seqlens.push(0);
        }
        self.cu_seqlens.push(self.input_ids.len() as i32);
        self.rows.push(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_laid_end_to_end() {
        let mut s = Sequences::default();
        s.push(7, Tokens::U16(&[1, 2, 3]), 2);
        s.push(9, Tokens::U32(&[4]), 1);
        assert_eq!((s.num_sequences(), s.num_tokens(), s.max_len()), (2, 4, 3));
        assert_eq!((&s.segment_ids[..], &s.position_ids[..]), (&[0, 0, 1, 0][..], &[0, 1, 2, 0][..]));
        assert_eq!((&s.input_ids[..], &s.cu_seqlens[..]), (&[1, 2, 3, 4][..], &[0, 3, 4][..]));
    }
}
