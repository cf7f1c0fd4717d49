//! Each layer, forward and backward, against torch's own operations under torch's autograd.

use super::*;
use crate::tests::{FLOAT, with_generator};
use tch::{Device, Kind};

/// Random values that require a gradient.
fn leaf(shape: &[i64], scale: f64) -> Tensor {
    (Tensor::randn(shape, FLOAT) * scale).set_requires_grad(true)
}

/// Largest difference in units of the largest expected value.
fn error(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.size(), expected.size());
    let difference = (found.to_kind(Kind::Double) - expected.to_kind(Kind::Double)).abs().max();
    difference.double_value(&[]) / expected.abs().max().double_value(&[]).max(1e-12)
}

/// The outputs are equal, and so are the gradients of a random projection of them.
fn assert_alike(leaves: &[&Tensor], found: impl Fn() -> Tensor, expected: impl Fn() -> Tensor) {
    let gradients = |out: &Tensor, weights: &Tensor| -> Vec<Tensor> {
        for leaf in leaves {
            let _ = leaf.grad().defined().then(|| leaf.grad().zero_());
        }
        (out * weights).sum(out.kind()).backward();
        leaves.iter().map(|leaf| leaf.grad().copy()).collect()
    };
    let (found, expected) = (found(), expected());
    assert!(error(&found, &expected) < 1e-6, "output: {:e}", error(&found, &expected));
    let weights = Tensor::randn_like(&expected);
    let expected = gradients(&expected, &weights);
    let found = gradients(&found, &weights);
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert!(error(found, expected) < 1e-5, "gradient {index}: {:e}", error(found, expected));
    }
}

#[test]
fn cpu_dropout_keeps_the_mean_and_masks_the_gradient_alike_for_any_number_of_threads() {
    with_generator(|| {
        const LEN: i64 = 300_000;
        let x = Tensor::ones([3, LEN / 3], FLOAT).set_requires_grad(true);
        seed_dropout(7);
        let y = cpu_dropout(&x, 0.1).unwrap();
        let next = cpu_dropout(&x, 0.1).unwrap();
        y.sum(Kind::Float).backward();
        assert_eq!(x.grad(), y.detach());
        let dropped = |t: &Tensor| t.eq(0.0).sum(Kind::Int64).int64_value(&[]) as f64 / LEN as f64;
        let deviation = (0.1f64 * 0.9 / LEN as f64).sqrt();
        assert!((dropped(&y) - 0.1).abs() < 4.0 * deviation, "{}", dropped(&y));
        // Two masks, and neighbours within one, are independent: both drop one element in a hundred.
        let both = dropped(&(&y + &next));
        assert!((both - 0.01).abs() < 4.0 * (0.01f64 * 0.99 / LEN as f64).sqrt(), "{both}");
        let flat = y.flatten(0, -1);
        let neighbours = dropped(&(flat.narrow(0, 0, LEN - 1) + flat.narrow(0, 1, LEN - 1)));
        assert!((neighbours - 0.01).abs() < 4.0 * (0.01f64 * 0.99 / LEN as f64).sqrt(), "{neighbours}");
        seed_dropout(7);
        let threads = tch::get_num_threads();
        tch::set_num_threads(if threads == 1 { 3 } else { 1 });
        assert_eq!(cpu_dropout(&x, 0.1).unwrap(), y);
        tch::set_num_threads(threads);
        assert!(cpu_dropout(&x, 1.0).is_err());
        assert!(cpu_dropout(&x.to_kind(Kind::Double), 0.1).is_err());
    });
}

const LENS: [i64; 6] = [3, 300, 16, 1, 129, 47];

fn cu_seqlens() -> Tensor {
    let mut bounds = vec![0i32];
    for len in LENS {
        bounds.push(bounds[bounds.len() - 1] + len as i32);
    }
    Tensor::from_slice(&bounds)
}

fn bounds(cu_seqlens: &Tensor, longest: i64) -> Bounds<'_> {
    Bounds { cu_seqlens, longest }
}

/// Torch's attention in f64, whose own rounding is out of the comparison, a sequence at a time; `mask` `[N, T, longest]` multiplies the softmax.
fn plain_attention(qkv: &Tensor, num_heads: i64, mask: Option<&Tensor>) -> Tensor {
    let qkv = qkv.to_kind(Kind::Double);
    let mut start = 0;
    let outs: Vec<Tensor> = LENS
        .iter()
        .map(|&len| {
            let heads = qkv.narrow(0, start, len).view([len, 3, num_heads, -1]).permute([1, 2, 0, 3]);
            let (q, k, v) = (heads.get(0), heads.get(1), heads.get(2));
            let scale = (q.size()[2] as f64).powf(-0.5);
            let softmax = (q.matmul(&k.transpose(1, 2)) * scale).softmax(-1, Kind::Double);
            let softmax = match mask {
                Some(mask) => &softmax * mask.narrow(1, start, len).narrow(2, 0, len),
                None => softmax,
            };
            start += len;
            softmax.matmul(&v).transpose(0, 1).reshape([len, -1])
        })
        .collect();
    Tensor::cat(&outs, 0)
}

#[test]
fn attention_over_packed_sequences_of_mixed_lengths_is_torch_s_over_each() {
    with_generator(|| {
        let num_tokens = LENS.iter().sum::<i64>();
        for (num_heads, width) in [(2, 64), (3, 20)] {
            let qkv = leaf(&[num_tokens, 3 * num_heads * width], 1.5);
            let attend = || attention(&qkv, bounds(&cu_seqlens(), 300), num_heads, 0.0).unwrap();
            assert_alike(&[&qkv], attend, || plain_attention(&qkv, num_heads, None));
        }
    });
}

#[test]
fn attention_of_some_tokens_is_that_of_all_at_their_rows() {
    with_generator(|| {
        let num_tokens = LENS.iter().sum::<i64>();
        // Of each sequence the first token and every seventh.
        let ends: Vec<i64> = Vec::<i32>::try_from(cu_seqlens()).unwrap().into_iter().map(i64::from).collect();
        let of_sequence = |b: usize| (ends[b]..ends[b + 1]).step_by(7);
        let rows: Vec<i64> = (0..LENS.len()).flat_map(of_sequence).collect();
        let mut some = vec![0i32];
        some.extend((0..LENS.len()).map(|b| (0..=b).map(|b| of_sequence(b).count() as i32).sum::<i32>()));
        let (rows, some, all) = (Tensor::from_slice(&rows), Tensor::from_slice(&some), cu_seqlens());
        for (num_heads, width) in [(2, 64), (3, 20)] {
            let hidden = num_heads * width;
            let qkv = leaf(&[num_tokens, 3 * hidden], 1.5);
            let attend = |kind: Kind| {
                let queries = qkv.narrow(1, 0, hidden).index_select(0, &rows).to_kind(kind);
                let keys_values = qkv.narrow(1, hidden, 2 * hidden).to_kind(kind);
                let (of_some, of_all) = (bounds(&some, 43), bounds(&all, 300));
                attention_of_some((&queries, of_some), (&keys_values, of_all), num_heads, 0.0).unwrap()
            };
            let expected = || plain_attention(&qkv, num_heads, None).index_select(0, &rows);
            assert_alike(&[&qkv], || attend(Kind::Float), expected);
            assert!(error(&attend(Kind::BFloat16), &expected()) < 2e-2);
        }
        let qkv = Tensor::randn([num_tokens, 3 * 32], FLOAT);
        let (queries, keys) = (qkv.narrow(1, 0, 32).index_select(0, &rows), qkv.narrow(1, 32, 64));
        for (wrong, longest) in [(vec![0, 1, 44, 47, 48, 67, 74], 42), (vec![0, 74], 74)] {
            let wrong = Tensor::from_slice(&wrong);
            let queries = (&queries, bounds(&wrong, longest));
            assert!(attention_of_some(queries, (&keys, bounds(&all, 300)), 2, 0.0).is_err());
        }
    });
}

#[test]
fn attention_drops_alike_in_backward_and_another_tenth_at_each_call() {
    with_generator(|| {
        // With values that are one-hot in the key's place, the output is the softmax itself: the mask can be read off it.
        let len = 64;
        let (q, k) = (Tensor::randn([len, len], FLOAT), Tensor::randn([len, len], FLOAT));
        let one_hot = Tensor::cat(&[&q, &k, &Tensor::eye(len, FLOAT)], 1);
        let ends = Tensor::from_slice(&[0, len as i32]);
        seed_dropout(7);
        let dropped = attention(&one_hot, bounds(&ends, len), 1, 0.1).unwrap();
        let again = attention(&one_hot, bounds(&ends, len), 1, 0.1).unwrap();
        let softmax = attention(&one_hot, bounds(&ends, len), 1, 0.0).unwrap();
        let mask = &dropped / &softmax;
        let share = mask.eq(0.0).sum(Kind::Int64).int64_value(&[]) as f64 / (len * len) as f64;
        assert!((share - 0.1).abs() < 4.0 * (0.09f64 / (len * len) as f64).sqrt(), "{share}");
        assert_ne!(mask.eq(0.0), again.eq(0.0));
        // The same mask, given to torch, has the same gradients.
        let qkv = leaf(&[len, 3 * len], 1.0);
        let attend = || {
            seed_dropout(7);
            attention(&qkv, bounds(&ends, len), 1, 0.1).unwrap()
        };
        let expected = || {
            let part = |index| qkv.narrow(1, index * len, len);
            let scores = part(0).matmul(&part(1).transpose(0, 1)) * (len as f64).powf(-0.5);
            (scores.softmax(-1, Kind::Float) * &mask).matmul(&part(2))
        };
        assert_alike(&[&qkv], attend, expected);
    });
}

#[test]
fn attention_in_other_kinds_is_torch_s_and_wrong_bounds_are_refused() {
    with_generator(|| {
        let qkv = Tensor::randn([LENS.iter().sum::<i64>(), 3 * 32], FLOAT);
        let half = attention(&qkv.to_kind(Kind::BFloat16), bounds(&cu_seqlens(), 300), 2, 0.0).unwrap();
        assert_eq!(half.kind(), Kind::BFloat16);
        assert!(error(&half, &plain_attention(&qkv, 2, None)) < 2e-2);
        for wrong in [vec![0, 495], vec![0, 10, 5, 496], vec![0, 0, 496], vec![1, 496], vec![0]] {
            assert!(attention(&qkv, bounds(&Tensor::from_slice(&wrong), 496), 2, 0.0).is_err(), "{wrong:?}");
        }
        assert!(attention(&qkv, bounds(&cu_seqlens(), 299), 2, 0.0).is_err());
    });
}

#[test]
fn dense_and_gelu_in_one_are_torch_s_in_two() {
    with_generator(|| {
        for (rows, width) in [(200, 64), (5, 27)] {
            let (x, weight, bias) = (leaf(&[rows, 24], 1.0), leaf(&[width, 24], 0.6), leaf(&[width], 1.0));
            for (by_tanh, form) in [(false, "none"), (true, "tanh")] {
                let found = || linear_gelu(&x, &weight, &bias, by_tanh).unwrap();
                assert_alike(&[&x, &weight, &bias], found, || x.linear(&weight, Some(&bias)).gelu(form));
            }
        }
        // Where little is left of it, too.
        let x = Tensor::linspace(-12, 12, 4801, FLOAT).view([4801, 1]);
        let (one, zero) = (Tensor::ones([1, 1], FLOAT), Tensor::zeros([1], FLOAT));
        for (by_tanh, form) in [(false, "none"), (true, "tanh")] {
            let difference = (linear_gelu(&x, &one, &zero, by_tanh).unwrap() - x.gelu(form)).abs().max();
            assert!(difference.double_value(&[]) < 1e-6, "{form}: {difference:?}");
        }
    });
}

#[test]
fn dense_dropout_residual_and_norm_in_one_are_torch_s_in_four() {
    with_generator(|| {
        let (rows, from, to) = (150, 40, 48);
        let (x, residual) = (leaf(&[rows, from], 1.0), leaf(&[rows, to], 1.0));
        let (weight, bias) = (leaf(&[to, from], 0.3), leaf(&[to], 1.0));
        let (norm_weight, norm_bias) = (leaf(&[to], 1.0), leaf(&[to], 1.0));
        let leaves = [&x, &weight, &bias, &residual, &norm_weight, &norm_bias];
        for probability in [0.0, 0.3] {
            seed_dropout(7);
            let mask = if probability > 0.0 {
                cpu_dropout(&Tensor::ones([rows, to], FLOAT), probability).unwrap()
            } else {
                Tensor::ones([rows, to], FLOAT)
            };
            let found = || {
                seed_dropout(7);
                let (dense, norm) =
                    (Affine { weight: &weight, bias: &bias }, Affine { weight: &norm_weight, bias: &norm_bias });
                linear_add_norm(&x, dense, &residual, norm, 1e-12, probability).unwrap()
            };
            let expected = || {
                let sum = x.linear(&weight, Some(&bias)) * &mask + &residual;
                sum.layer_norm([to], Some(&norm_weight), Some(&norm_bias), 1e-12, false)
            };
            assert_alike(&leaves, found, expected);
        }
    });
}

#[test]
fn a_sum_of_embeddings_adds_to_preset_gradients_in_place() {
    with_generator(|| {
        let tables = [leaf(&[50, 70], 1.0), leaf(&[20, 70], 1.0), leaf(&[2, 70], 1.0)];
        let tables: [&Tensor; 3] = [&tables[0], &tables[1], &tables[2]];
        let ids = [50, 20, 2].map(|rows| Tensor::randint(rows, [300], (Kind::Int64, Device::Cpu)));
        let ids = [&ids[0], &ids[1], &ids[2]];
        let expected = || {
            let looked_up = |i: usize| Tensor::embedding(tables[i], ids[i], -1, false, false);
            looked_up(0) + looked_up(1) + looked_up(2)
        };
        assert_alike(&tables, || embedding_sum(tables, ids).unwrap(), expected);
        // Once more, on top of what is there.
        let before = tables[0].grad().copy();
        let storage = tables[0].grad().data_ptr();
        embedding_sum(tables, ids).unwrap().sum(Kind::Float).backward();
        assert_eq!(tables[0].grad().data_ptr(), storage);
        let uses = ids[0].bincount::<&Tensor>(None, 50).view([50, 1]);
        assert!(error(&(tables[0].grad() - before), &uses.expand([50, 70], false).to_kind(Kind::Float)) < 1e-5);
        let outside = Tensor::from_slice(&[50i64]);
        let inside = Tensor::from_slice(&[0i64]);
        assert!(embedding_sum(tables, [&outside, &inside, &inside]).is_err());
    });
}

#[test]
fn decoder_and_cross_entropy_in_one_are_torch_s_in_two() {
    with_generator(|| {
        for (rows, width) in [(70, 128), (3, 37)] {
            let (x, weight, bias) = (leaf(&[rows, 24], 1.0), leaf(&[width, 24], 1.0), leaf(&[width], 1.0));
            let labels = Tensor::randint(width, [rows], (Kind::Int64, Device::Cpu));
            let decoder = Affine { weight: &weight, bias: &bias };
            let found = || linear_cross_entropy(&x, decoder, &labels).unwrap().0;
            let logits = || x.linear(&weight, Some(&bias));
            let expected = || logits().cross_entropy_loss::<Tensor>(&labels, None, tch::Reduction::Sum, -100, 0.0);
            assert_alike(&[&x, &weight, &bias], found, expected);
            let correct = logits().argmax(-1, false).eq_tensor(&labels).sum(Kind::Int64);
            assert_eq!(linear_cross_entropy(&x, decoder, &labels).unwrap().1, correct);
            let evaluated = tch::no_grad(|| linear_cross_entropy(&x, decoder, &labels).unwrap().0);
            assert_eq!(evaluated, found().detach());
            assert!(linear_cross_entropy(&x, decoder, &(&labels + width)).is_err());
        }
    });
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    with_generator(|| {
        seed_dropout(7);
        let num_tokens = LENS.iter().sum::<i64>();
        let (weight, bias) = (leaf(&[192, 64], 1.0), leaf(&[192], 1.0));
        let (dense, norm) = (leaf(&[64, 64], 1.0), leaf(&[64], 1.0));
        let x = leaf(&[num_tokens, 64], 1.0);
        let run = || {
            seed_dropout(7);
            // A kernel of BLAS may depend on the number of threads; these inputs are exact whatever it does.
            let qkv = x.round().linear(&weight.round(), Some(&bias.round()));
            let attended = attention(&qkv, bounds(&cu_seqlens(), 300), 4, 0.1).unwrap();
            let (dense, norm) = (Affine { weight: &dense, bias: &norm }, Affine { weight: &norm, bias: &norm });
            let out = linear_add_norm(&attended.round(), dense, &x, norm, 1e-5, 0.1).unwrap();
            (attended, out)
        };
        let threads = tch::get_num_threads();
        let several = run();
        tch::set_num_threads(if threads == 1 { 3 } else { 1 });
        let one = run();
        tch::set_num_threads(threads);
        assert_eq!(one.0, several.0);
        assert!(error(&one.1, &several.1) < 1e-5);
    });
}
