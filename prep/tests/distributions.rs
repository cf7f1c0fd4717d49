//! The native draws have the same distributions as NVIDIA's: a generated corpus, built both ways, compared.
//!
//! The tests are two-sided at five standard deviations or a significance of 1e-6, and seeds are fixed. They take instances for
//! independent. Those of a document and duplicate share a target length, so their lengths are more spread than that; documents
//! here are many and small to keep it within the bounds. That a real difference is still noticed is tested too.

mod common;

use cloze_formats::Dataset;
use cloze_formats::config::{Compat, InstanceConfig, MaskingMode};
use cloze_formats::rng::{KeyedRng, Purpose};

use common::corpora::{FIRST_TOKEN, Instance, built, corpus};

const NUM_DOCUMENTS: usize = 300;
const NUM_TOKENS: u32 = 2_000;
const MASK: u32 = 4;

/// Documents of 1 to 40 sentences of 1 to 60 tokens, shorter ones more often. A token tells its document.
fn generated(dir: &std::path::Path) -> Dataset {
    let mut rng = KeyedRng::new(2, Purpose::Order, 0, 0);
    let mut skewed = |most: f64| (1.0 + rng.unit() * rng.unit() * most) as u16;
    let documents: Vec<Vec<u16>> =
        (0..NUM_DOCUMENTS).map(|_| (0..skewed(40.0)).map(|_| skewed(60.0)).collect()).collect();
    corpus(dir, NUM_TOKENS, &documents, |document, _| FIRST_TOKEN + document as u32)
}

fn config() -> InstanceConfig {
    InstanceConfig { dupe_factor: 20, ..InstanceConfig::for_phase(1, MaskingMode::Static) }
}

fn both() -> [Vec<Instance>; 2] {
    let dir = tempfile::tempdir().unwrap();
    let corpus = generated(dir.path());
    [None, Some(Compat::Nvidia)].map(|compat| built(&corpus, &InstanceConfig { compat, ..config() }))
}

/// The largest distance of two cumulative distributions over its bound at a significance of 1e-6: below 1 they may be one.
///
/// The two-sample test of Kolmogorov and Smirnov; ties only make it more lenient.
fn kolmogorov_smirnov(one: &[Instance], other: &[Instance], of: impl Fn(&Instance) -> usize) -> f64 {
    let sorted = |instances: &[Instance]| {
        let mut values: Vec<usize> = instances.iter().map(&of).collect();
        values.sort_unstable();
        values
    };
    let (x, y) = (sorted(one), sorted(other));
    let below = |values: &[usize], v: usize| values.partition_point(|&w| w <= v) as f64 / values.len() as f64;
    let distance = x.iter().chain(&y).map(|&v| (below(&x, v) - below(&y, v)).abs()).fold(0.0, f64::max);
    let (n, m) = (x.len() as f64, y.len() as f64);
    distance / ((-(1e-6f64 / 2.0).ln() / 2.0).sqrt() * ((n + m) / (n * m)).sqrt())
}

/// Standard deviations between two shares.
fn z(hits: [usize; 2], of: [usize; 2]) -> f64 {
    let [p, q] = [0, 1].map(|i| hits[i] as f64 / of[i] as f64);
    let pooled = (hits[0] + hits[1]) as f64 / (of[0] + of[1]) as f64;
    (p - q) / (pooled * (1.0 - pooled) * (1.0 / of[0] as f64 + 1.0 / of[1] as f64)).sqrt()
}

/// Chi-square of `counts` over its bound at a significance of 1e-6 (approximation of Wilson and Hilferty).
fn chi_square(counts: &[usize], expected: &[f64]) -> f64 {
    let sum: f64 = counts.iter().zip(expected).map(|(&c, e)| (c as f64 - e).powi(2) / e).sum();
    let k = (counts.len() - 1) as f64;
    sum / (k * (1.0 - 2.0 / (9.0 * k) + 4.753 * (2.0 / (9.0 * k)).sqrt()).powi(3))
}

#[test]
fn lengths_are_distributed_alike() {
    let [ours, theirs] = both();
    assert!(ours.len() > 5_000);
    let more = (ours.len() as f64 / theirs.len() as f64 - 1.0).abs();
    assert!(more < 0.02, "{} and {} instances", ours.len(), theirs.len());
    let length = kolmogorov_smirnov(&ours, &theirs, |i| i.ids.len());
    let a = kolmogorov_smirnov(&ours, &theirs, |i| i.a().len());
    let b = kolmogorov_smirnov(&ours, &theirs, |i| i.b().len());
    let predictions = kolmogorov_smirnov(&ours, &theirs, |i| i.masks.len());
    let found = [length, a, b, predictions];
    assert!(found.iter().all(|&distance| distance < 1.0), "{found:?}");
}

#[test]
fn a_small_difference_of_a_knob_would_be_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = generated(dir.path());
    let ours = built(&corpus, &InstanceConfig { short_seq_prob: 0.2, ..config() });
    let theirs = built(&corpus, &InstanceConfig { compat: Some(Compat::Nvidia), ..config() });
    assert!(kolmogorov_smirnov(&ours, &theirs, |i| i.ids.len()) > 1.0);
}

#[test]
fn random_segments_are_as_many_and_of_any_document() {
    let [ours, theirs] = both();
    let random = [&ours, &theirs].map(|all| all.iter().filter(|i| i.is_random).collect::<Vec<_>>());
    let found = z([random[0].len(), random[1].len()], [ours.len(), theirs.len()]);
    assert!(found.abs() < 5.0, "{found} standard deviations");
    for random in random {
        let mut counts = vec![0; NUM_DOCUMENTS];
        let mut expected = vec![0.0; NUM_DOCUMENTS];
        for instance in random {
            let [a, b] = [instance.a(), instance.b()].map(|segment| (segment[0] - FIRST_TOKEN) as usize);
            assert_ne!(a, b);
            counts[b] += 1;
            let others = (0..NUM_DOCUMENTS).filter(|&d| d != a);
            others.for_each(|d| expected[d] += 1.0 / (NUM_DOCUMENTS - 1) as f64);
        }
        let found = chi_square(&counts, &expected);
        assert!(found < 1.0, "{found} of the bound");
    }
}

#[test]
fn masked_tokens_are_replaced_at_the_same_rates() {
    let counts = both().map(|instances| {
        let mut counts = [0usize; 3];
        for instance in &instances {
            for &(position, seen) in &instance.masks {
                let kind = if seen == MASK { 0 } else { 1 + usize::from(seen != instance.ids[position]) };
                counts[kind] += 1;
            }
        }
        counts
    });
    // A random token may be [MASK] or the token itself.
    let chance = 0.1 / f64::from(NUM_TOKENS);
    let nominal = [0.8 + chance, 0.1 + chance, 0.1 - 2.0 * chance];
    for kind in 0..3 {
        let totals = counts.map(|c| c.iter().sum::<usize>());
        let between = z([counts[0][kind], counts[1][kind]], totals);
        assert!(between.abs() < 5.0, "kind {kind}: {between} standard deviations, {counts:?}");
        for i in 0..2 {
            let (n, p) = (totals[i] as f64, nominal[kind]);
            let found = (counts[i][kind] as f64 - n * p) / (n * p * (1.0 - p)).sqrt();
            assert!(found.abs() < 5.0, "kind {kind}: {found} standard deviations, {counts:?}");
        }
    }
}

#[test]
fn masked_positions_are_uniform_over_the_text() {
    const BINS: usize = 25;
    for instances in both() {
        let mut counts = vec![0; BINS];
        // Full instances have 125 candidates; the one [SEP] between them is counted out.
        for instance in instances.iter().filter(|i| i.ids.len() == 128) {
            for &(position, _) in &instance.masks {
                let candidate = position - 1 - usize::from(position >= instance.a_length);
                counts[candidate * BINS / 125] += 1;
            }
        }
        let sum = counts.iter().sum::<usize>() as f64;
        assert!(sum > 50_000.0, "{sum}");
        let found = chi_square(&counts, &[sum / BINS as f64; BINS]);
        assert!(found < 1.0, "{found} of the bound, {counts:?}");
    }
}
