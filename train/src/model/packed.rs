//! A micro-batch on the model's device, and which of its tokens the heads read.

// Tensors carry their shape as an upper-case suffix: B sequences, T tokens, R of them that are read, M masked positions.
#![allow(non_snake_case)]

use cloze_formats::stream::Sequences;
use cloze_torch_ext::fused::Bounds;
use tch::{Device, Tensor};

use crate::error::{Error, Result};

/// A packed micro-batch.
#[derive(Debug)]
pub(super) struct Packed {
    pub input_ids_T: Tensor,
    pub position_ids_T: Tensor,
    pub segment_ids_T: Tensor,
    /// `[B + 1]` i32: sequence `b` is `cu_seqlens[b] .. cu_seqlens[b + 1]`.
    pub cu_seqlens: Tensor,
    pub max_len: i64,
}

impl Packed {
    pub fn new(sequences: &Sequences, device: Device) -> Result<Self> {
        Ok(Self {
            input_ids_T: indices(&sequences.input_ids, device)?,
            position_ids_T: indices(&sequences.position_ids, device)?,
            segment_ids_T: indices(&sequences.segment_ids, device)?,
            cu_seqlens: Tensor::f_from_slice(&sequences.cu_seqlens)?.f_to_device(device)?,
            max_len: sequences.max_len() as i64,
        })
    }

    pub fn bounds(&self) -> Bounds<'_> {
        Bounds { cu_seqlens: &self.cu_seqlens, longest: self.max_len }
    }
}

/// The tokens whose last hidden states the heads read: the first of each sequence, `[CLS]`, and the masked ones. The last layer
/// computes no others.
#[derive(Debug)]
pub(super) struct Read {
    /// Their places among the packed tokens, ascending.
    pub tokens_R: Tensor,
    /// `[B + 1]` i32: those of sequence `b` are `cu_seqlens[b] .. cu_seqlens[b + 1]`.
    cu_seqlens: Tensor,
    longest: i64,
    /// Where the first token of each sequence is among the tokens read.
    pub first_B: Tensor,
    /// Where the masked positions are among them, in the order they were given in.
    pub masked_M: Tensor,
}

impl Read {
    /// `masked`: places among the packed tokens, in any order; one may be met twice.
    pub fn new(sequences: &Sequences, masked: &[i64], device: Device) -> Result<Self> {
        let num_tokens = sequences.num_tokens() as i64;
        if masked.iter().any(|position| !(0..num_tokens).contains(position)) {
            return Err(Error::Invalid(format!(
                "masked positions: expected indices below {num_tokens}, the tokens of the micro-batch"
            )));
        }
        let starts = &sequences.cu_seqlens[..sequences.num_sequences()];
        let mut tokens: Vec<i64> = starts.iter().map(|&start| start.into()).chain(masked.iter().copied()).collect();
        tokens.sort_unstable();
        tokens.dedup();
        let before = |bound: i64| tokens.partition_point(|&token| token < bound);
        let bounds: Vec<i32> = sequences.cu_seqlens.iter().map(|&bound| before(bound.into()) as i32).collect();
        let masked: Vec<i64> = masked.iter().map(|&position| before(position) as i64).collect();
        let first: Vec<i64> = bounds[..starts.len()].iter().map(|&bound| bound.into()).collect();
        Ok(Self {
            tokens_R: indices(&tokens, device)?,
            cu_seqlens: Tensor::f_from_slice(&bounds)?.f_to_device(device)?,
            longest: bounds.windows(2).map(|pair| i64::from(pair[1] - pair[0])).max().unwrap_or(0),
            first_B: indices(&first, device)?,
            masked_M: indices(&masked, device)?,
        })
    }

    pub fn bounds(&self) -> Bounds<'_> {
        Bounds { cu_seqlens: &self.cu_seqlens, longest: self.longest }
    }
}

fn indices(of: &[i64], device: Device) -> Result<Tensor> {
    Ok(Tensor::f_from_slice(of)?.f_to_device(device)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_first_and_every_masked_token_is_read_once() {
        let sequences = Sequences {
            cu_seqlens: vec![0, 5, 6, 9],
            input_ids: vec![0; 9],
            rows: vec![0, 1, 2],
            ..Sequences::default()
        };
        let read = Read::new(&sequences, &[4, 8, 2, 8, 6], Device::Cpu).unwrap();
        let list = |t: &Tensor| Vec::<i64>::try_from(t.to_kind(tch::Kind::Int64)).unwrap();
        assert_eq!(list(&read.tokens_R), [0, 2, 4, 5, 6, 8]);
        assert_eq!(list(&read.cu_seqlens), [0, 3, 4, 6]);
        assert_eq!(list(&read.first_B), [0, 3, 4]);
        assert_eq!(list(&read.masked_M), [2, 5, 1, 5, 4]);
        assert_eq!(read.longest, 3);
        assert!(Read::new(&sequences, &[9], Device::Cpu).is_err());
    }
}
