//! Layers of BERT in C++: attention over packed sequences on any device, and for the CPU in f32 layers that take few passes over
//! memory. All differentiable, once. T tokens, H hidden, N heads, F feed-forward width, V vocabulary, M masked positions.

use libc::c_int;
use tch::Tensor;

use crate::{Result, take_tensor};

/// Whether the layers for the CPU may take `x`: it is contiguous f32 on the CPU, and autocast does not want it rounded.
pub fn is_fusable(x: &Tensor) -> bool {
    // SAFETY: the pointer is a live tensor's; the shim only reads its properties and throws nothing.
    unsafe { crate::ffi::cloze_is_fusable(x.as_ptr()) != 0 }
}

/// Decides the masks of all dropout that this thread computes with the layers of this module from here on.
pub fn seed_dropout(seed: u64) {
    // SAFETY: the shim sets a variable of this thread.
    unsafe { crate::ffi::cloze_seed_dropout(seed) }
}

/// Dropout of an f32 tensor on the CPU: each element becomes 0 with `probability`, the others are scaled by
/// `1 / (1 - probability)`. Differentiable; several times as fast as torch's, and the same for any number of threads.
///
/// The mask is a hash of the element's index and of one number drawn by this thread (see [`seed_dropout`]); backward makes it
/// again.
///
/// # Errors
/// When `x` is not such a tensor or `probability` is not in `0 .. 1`.
pub fn cpu_dropout(x: &Tensor, probability: f64) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    call!(cloze_cpu_dropout(x.as_ptr(), probability, &mut out))?;
    Ok(take_tensor(out))
}

/// Where packed sequences begin and end.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<'a> {
    /// `[B + 1]` i32: sequence `b` has `cu_seqlens[b] .. cu_seqlens[b + 1]` of the rows, at least one.
    pub cu_seqlens: &'a Tensor,
    /// The most rows that one has.
    pub longest: i64,
}

/// Self-attention of each packed sequence to itself: `softmax(q k^T / sqrt(D)) v`, dropout with `probability` on the softmax.
///
/// `qkv`: `[T, 3 H]`, queries, keys, values, each of `num_heads` heads; the bounds are on the same device. Gives `[T, H]`; no `[S, S]`
/// matrix is kept.
///
/// In f32 on a CPU a kernel of our own, whose mask is as [`cpu_dropout`]'s; on CUDA torch's flash attention in half precisions and
/// its memory-efficient attention in f32; elsewhere torch's attention sequence by sequence.
///
/// # Errors
/// When shapes, kinds or devices do not go together, or memory runs out.
pub fn attention(qkv: &Tensor, bounds: Bounds<'_>, num_heads: i64, probability: f64) -> Result<Tensor> {
    let (mut out, none) = (std::ptr::null_mut(), std::ptr::null());
    let Bounds { cu_seqlens, longest } = bounds;
    let bounds = cu_seqlens.as_ptr();
    call!(cloze_attention(none, qkv.as_ptr(), none, bounds, num_heads, longest, longest, probability, &mut out))?;
    Ok(take_tensor(out))
}

/// As [`attention`], but only `queries` `[R, H]`, those of some tokens of each sequence, attend to its `keys_values` `[T, 2 H]`. Gives
/// `[R, H]`.
///
/// # Errors
/// When shapes, kinds or devices do not go together, or memory runs out.
pub fn attention_of_some(
    queries: (&Tensor, Bounds<'_>),
    keys_values: (&Tensor, Bounds<'_>),
    num_heads: i64,
    probability: f64,
) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    let ((queries, some), (keys_values, all)) = (queries, keys_values);
    call!(cloze_attention(
        queries.as_ptr(),
        keys_values.as_ptr(),
        some.cu_seqlens.as_ptr(),
        all.cu_seqlens.as_ptr(),
        num_heads,
        some.longest,
        all.longest,
        probability,
        &mut out
    ))?;
    Ok(take_tensor(out))
}

/// `gelu(x W^T + b)`, by the error function or, with `by_tanh`, by its approximation. `x`: `[T, H]`, weight `[F, H]`, bias `[F]`.
///
/// # Errors
/// When a tensor is not [fusable](is_fusable), shapes do not go together, or memory runs out.
pub fn linear_gelu(x: &Tensor, weight: &Tensor, bias: &Tensor, by_tanh: bool) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    call!(cloze_linear_gelu(x.as_ptr(), weight.as_ptr(), bias.as_ptr(), c_int::from(by_tanh), &mut out))?;
    Ok(take_tensor(out))
}

/// Weight and bias, of a dense layer or of a LayerNorm.
#[derive(Clone, Copy, Debug)]
pub struct Affine<'a> {
    /// `[to, from]`, or a LayerNorm's scale `[H]`.
    pub weight: &'a Tensor,
    /// `[to]`, or a LayerNorm's shift `[H]`.
    pub bias: &'a Tensor,
}

/// Widths that [`linear_add_norm`] takes are multiples of this.
pub const NORM_LANES: i64 = 16;

/// `LayerNorm(residual + dropout(x W^T + b))`. `x`: `[T, F]`, `residual`: `[T, H]`, H a multiple of [`NORM_LANES`].
///
/// # Errors
/// When a tensor is not [fusable](is_fusable), shapes do not go together, or memory runs out.
pub fn linear_add_norm(
    x: &Tensor,
    dense: Affine<'_>,
    residual: &Tensor,
    norm: Affine<'_>,
    epsilon: f64,
    probability: f64,
) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    call!(cloze_linear_add_norm(
        x.as_ptr(),
        dense.weight.as_ptr(),
        dense.bias.as_ptr(),
        residual.as_ptr(),
        norm.weight.as_ptr(),
        norm.bias.as_ptr(),
        epsilon,
        probability,
        &mut out
    ))?;
    Ok(take_tensor(out))
}

/// The sum of a row of each of three `tables` `[.., H]`, picked by `ids` `[T]` i64: gives `[T, H]`.
///
/// Where a table is a leaf with a `.grad`, backward adds its rows to that in place and hands autograd nothing: the table is often
/// the largest parameter and few of its rows are met.
///
/// # Errors
/// When a tensor is not [fusable](is_fusable), an id is out of range, or shapes do not go together.
pub fn embedding_sum(tables: [&Tensor; 3], ids: [&Tensor; 3]) -> Result<Tensor> {
    let ([a, b, c], [i, j, k]) = (tables.map(Tensor::as_ptr), ids.map(Tensor::as_ptr));
    let mut out = std::ptr::null_mut();
    call!(cloze_embedding_sum(a, b, c, i, j, k, &mut out))?;
    Ok(take_tensor(out))
}

/// Sum of the cross entropies of `x W^T + b` against `labels` `[M]` i64, and how many have their maximum at the label.
///
/// `x`: `[M, H]`, weight `[V, H]`, bias `[V]`. The gradient takes the place of the logits, so there is only ever one `[M, V]`.
///
/// # Errors
/// When a tensor is not [fusable](is_fusable), a label is out of range, or shapes do not go together.
pub fn linear_cross_entropy(x: &Tensor, decoder: Affine<'_>, labels: &Tensor) -> Result<(Tensor, Tensor)> {
    let (mut loss, mut correct) = (std::ptr::null_mut(), std::ptr::null_mut());
    let (weight, bias) = (decoder.weight.as_ptr(), decoder.bias.as_ptr());
    call!(cloze_linear_cross_entropy(x.as_ptr(), weight, bias, labels.as_ptr(), &mut loss, &mut correct))?;
    Ok((take_tensor(loss), take_tensor(correct)))
}

/// The constants of one LAMB update.
#[derive(Clone, Copy, Debug)]
pub struct LambUpdate {
    /// Number of this update, from 1: it decides the bias correction.
    pub step: u64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Decay rates of the first and second moment.
    pub betas: (f64, f64),
    /// Weight decay.
    pub weight_decay: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// What gradients are multiplied with first: clipping.
    pub gradient_scale: f64,
}

/// What LAMB works on: flat f32 buffers `[N]` on the CPU.
#[derive(Debug)]
pub struct LambBuffers<'a> {
    /// Parameters.
    pub parameters: &'a mut Tensor,
    /// Gradients; the direction of the update afterwards.
    pub gradient: &'a mut Tensor,
    /// First moments.
    pub first_moment: &'a mut Tensor,
    /// Second moments.
    pub second_moment: &'a mut Tensor,
}

/// One LAMB update in two passes over `buffers`. Parameter `i` is `offsets[i] .. offsets[i] + lens[i]` of each; weight decay and trust
/// ratio apply to those below `decayed_len`.
///
/// # Errors
/// When buffers are not such tensors of one length, or a parameter lies outside them.
///
/// # Panics
/// `offsets` and `lens` differ in number.
pub fn fused_lamb(
    buffers: LambBuffers<'_>,
    offsets: &[i64],
    lens: &[i64],
    decayed_len: i64,
    update: LambUpdate,
) -> Result<()> {
    assert_eq!(offsets.len(), lens.len(), "a parameter has an offset and a length");
    call!(cloze_fused_lamb_(
        buffers.parameters.as_mut_ptr(),
        buffers.gradient.as_mut_ptr(),
        buffers.first_moment.as_mut_ptr(),
        buffers.second_moment.as_mut_ptr(),
        offsets.len() as i64,
        offsets.as_ptr(),
        lens.as_ptr(),
        decayed_len,
        update.step as f64,
        update.learning_rate,
        update.betas.0,
        update.betas.1,
        update.weight_decay,
        update.epsilon,
        update.gradient_scale
    ))
}

#[cfg(test)]
mod tests;
