//! Rules that every instance keeps, for any configuration.

mod common;

use cloze_formats::config::{Compat, InstanceConfig, MaskingMode};
use proptest::prelude::*;

use common::corpora::{FIRST_TOKEN, Instance, built, continues, corpus};

/// Enough for every token of the largest corpus here to be another one.
const NUM_TOKENS: u32 = 15_005;

/// Documents by the lengths of their sentences; at most 15,000 tokens.
fn documents() -> impl Strategy<Value = Vec<Vec<u16>>> {
    let sentence = prop_oneof![8 => 1u16..60, 2 => 60u16..250];
    prop::collection::vec(prop::collection::vec(sentence, 1..16), 1..5)
}

fn config() -> impl Strategy<Value = InstanceConfig> {
    let length = prop_oneof![
        Just(5u16),
        5u16..40,
        Just(128u16),
        Just(512u16),
        Just(1024u16),
        Just(4096u16),
        Just(u16::MAX),
        40u16..600
    ];
    let share = || prop_oneof![Just(0.0), Just(0.1), Just(1.0), 0.0..1.0];
    let mode = prop_oneof![Just((None, false)), Just((None, true)), Just((Some(Compat::Nvidia), false))];
    (length, share(), share(), 1u16..100, 1u32..4, any::<u64>(), mode).prop_map(
        |(max_seq_length, short_seq_prob, prob, most, dupe_factor, seed, (compat, whole_word_masking))| {
            InstanceConfig {
                max_seq_length,
                short_seq_prob,
                masked_lm_prob: if prob == 0.0 { 0.15 } else { prob },
                max_predictions_per_seq: most.min(max_seq_length),
                dupe_factor,
                seed,
                compat,
                whole_word_masking,
                ..InstanceConfig::for_phase(1, MaskingMode::Static)
            }
        },
    )
}

/// Every token is one more than the token before it; documents go on where the last one ended.
fn starts(documents: &[Vec<u16>]) -> Vec<usize> {
    let mut starts = vec![FIRST_TOKEN as usize];
    for document in documents {
        let len: usize = document.iter().map(|&l| usize::from(l)).sum();
        starts.push(starts[starts.len() - 1] + len);
    }
    starts
}

fn document_of(token: u32, starts: &[usize]) -> usize {
    starts.partition_point(|&start| start <= token as usize) - 1
}

fn is_contiguous(segment: &[u32]) -> bool {
    segment.windows(2).all(|w| w[1] == w[0] + 1)
}

fn check(instance: &Instance, config: &InstanceConfig, starts: &[usize]) {
    let (a, b) = (instance.a(), instance.b());
    assert!(instance.ids.len() <= usize::from(config.max_seq_length));
    assert!(!a.is_empty() && !b.is_empty() && is_contiguous(a) && is_contiguous(b), "{a:?} {b:?}");
    let documents = [a[0], a[a.len() - 1], b[0], b[b.len() - 1]].map(|token| document_of(token, starts));
    assert!(documents[0] == documents[1] && documents[2] == documents[3], "a segment lies in one document");
    let num_documents = starts.len() - 1;
    let is_alone = num_documents == 1;
    if instance.is_random {
        assert!(is_alone || documents[0] != documents[2], "a random B is of another document");
    } else if config.compat.is_none() {
        assert!(documents[0] == documents[2] && b[0] > a[a.len() - 1], "B follows A");
    } else {
        // Ten draws of the same document make NVIDIA's script call a random place of it "next".
        assert!(documents[0] == documents[2]);
    }
    check_masks(instance, config);
}

fn check_masks(instance: &Instance, config: &InstanceConfig) {
    let positions: Vec<usize> = instance.masks.iter().map(|m| m.0).collect();
    let wanted = config.masking_config().num_predictions(instance.ids.len());
    assert!(wanted <= config.max_predictions_per_seq.into());
    assert!(positions.iter().all(|&p| instance.ids[p] >= FIRST_TOKEN), "no special token is predicted");
    if !config.whole_word_masking {
        assert_eq!(positions.len(), wanted);
        return;
    }
    assert!(!positions.is_empty() && positions.len() <= wanted);
    let goes_on = |p: usize| p != 1 && p != instance.a_length && continues(instance.ids[p]);
    let is_whole = |&p: &usize| {
        let before = !goes_on(p) || positions.contains(&(p - 1));
        before && (!goes_on(p + 1) || positions.contains(&(p + 1)))
    };
    // Words here have at most two pieces: only a single prediction may be unable to hold one.
    assert!(wanted == 1 || positions.iter().all(is_whole), "{positions:?} of {:?}", instance.ids);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn instances_keep_the_rules_for_any_configuration(documents in documents(), config in config()) {
        let dir = tempfile::tempdir().unwrap();
        let corpus = corpus(dir.path(), NUM_TOKENS, &documents, |_, before| FIRST_TOKEN + before as u32);
        let starts = starts(&documents);
        let instances = built(&corpus, &config);
        prop_assert!(instances.len() >= documents.len() * config.dupe_factor as usize);
        for instance in &instances {
            check(instance, &config, &starts);
        }
    }
}

/// Lengths of all instances of three documents of 5,000 tokens.
fn lengths(config: &InstanceConfig) -> Vec<usize> {
    let dir = tempfile::tempdir().unwrap();
    let documents = vec![vec![20; 250]; 3];
    let corpus = corpus(dir.path(), NUM_TOKENS, &documents, |_, before| FIRST_TOKEN + before as u32);
    built(&corpus, config).iter().map(|instance| instance.ids.len()).collect()
}

#[test]
fn short_seq_prob_is_the_share_of_short_targets() {
    for compat in [None, Some(Compat::Nvidia)] {
        let config = InstanceConfig { compat, dupe_factor: 20, ..InstanceConfig::for_phase(1, MaskingMode::Static) };
        let lengths_with = |short_seq_prob| lengths(&InstanceConfig { short_seq_prob, ..config.clone() });
        // Chunks of whole sentences reach the target of 125; only the last one of a document may not.
        let never = lengths_with(0.0);
        let full = never.iter().filter(|&&length| length == 128).count();
        assert!(full * 100 > never.len() * 95, "{full} of {}", never.len());
        let always = lengths_with(1.0);
        let full = always.iter().filter(|&&length| length == 128).count();
        assert!(full * 100 < always.len() * 20, "{full} of {}", always.len());
    }
}

#[test]
fn long_sequences_are_filled() {
    for max_seq_length in [1024, 4096] {
        let config =
            InstanceConfig { max_seq_length, short_seq_prob: 0.0, ..InstanceConfig::for_phase(2, MaskingMode::Static) };
        let lengths = lengths(&config);
        assert!(lengths.contains(&usize::from(max_seq_length)), "{max_seq_length}: {:?}", lengths.iter().max());
    }
}
