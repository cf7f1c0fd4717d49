//! The stream over real shards.

use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::dataset::tests::pretrain_dataset;
use crate::masking::MaskingConfig;

fn stream(dir: &std::path::Path, config: StreamConfig, masking: Masking) -> Stream<PretrainGather> {
    let dataset = Arc::new(crate::Dataset::open(dir).unwrap());
    Stream::new(PretrainGather::new(dataset, masking, 3).unwrap(), config)
}

fn dynamic() -> Masking {
    Masking::Dynamic(MaskingConfig::default())
}

fn whole_words() -> Masking {
    Masking::Dynamic(MaskingConfig { masked_lm_prob: 0.4, whole_word_masking: true, ..Default::default() })
}

#[test]
fn every_instance_is_seen_exactly_once_an_epoch() {
    let dir = pretrain_dataset(101, false);
    let stream = stream(dir.path(), StreamConfig { global_batch_size: 16, ..Default::default() }, dynamic());
    let mut seen: HashMap<u64, u32> = HashMap::new();
    let mut cursor = Cursor::default();
    // 16 * 101 instances are 16 epochs.
    for _ in 0..101 {
        let batch = stream.global_batch(cursor).unwrap();
        assert_eq!(batch.num_instances, 16);
        for row in batch.micro_batches.iter().flat_map(|b| &b.sequences.rows) {
            *seen.entry(*row).or_default() += 1;
        }
        cursor = batch.next;
    }
    assert_eq!(cursor, Cursor { epoch: 16, offset: 0 });
    assert!(seen.len() == 101 && seen.values().all(|&n| n == 16));
}

/// Rows that each rank sees from `cursor` on, over `steps` global batches; and the cursor after them.
fn rows_seen(dir: &std::path::Path, world_size: u32, mut cursor: Cursor, steps: u64, seen: &mut [u32]) -> Cursor {
    for _ in 0..steps {
        let mut next = cursor;
        for rank in 0..world_size {
            let config = StreamConfig { global_batch_size: 13, rank, world_size, ..Default::default() };
            let batch = stream(dir, config, dynamic()).global_batch(cursor).unwrap();
            batch.micro_batches.iter().flat_map(|b| &b.sequences.rows).for_each(|&row| seen[row as usize] += 1);
            next = batch.next;
        }
        cursor = next;
    }
    cursor
}

#[test]
fn no_instance_is_missed_or_seen_twice_for_any_world_size_or_after_going_on_with_another() {
    let dir = pretrain_dataset(91, false);
    for world_size in 1..=8 {
        let mut seen = [0; 91];
        // 13 * 7 = 91: two epochs, the second half of each dealt to another number of ranks.
        let mut cursor = Cursor::default();
        for _ in 0..2 {
            cursor = rows_seen(dir.path(), world_size, cursor, 3, &mut seen);
            cursor = rows_seen(dir.path(), 9 - world_size, cursor, 4, &mut seen);
        }
        assert_eq!(cursor, Cursor { epoch: 2, offset: 0 });
        assert!(seen.iter().all(|&n| n == 2), "{world_size}: {seen:?}");
    }
}

#[test]
fn evaluation_passes_once_in_natural_order() {
    let dir = pretrain_dataset(10, false);
    let config = StreamConfig { global_batch_size: 4, shuffle: false, ..Default::default() };
    let stream = Arc::new(stream(dir.path(), config, dynamic()));
    let batches: Vec<_> = stream.load(Cursor::default()).map(|b| b.unwrap()).collect();
    assert_eq!(batches.iter().map(|b| b.num_instances).collect::<Vec<_>>(), [4, 4, 2]);
    let mut rows: Vec<u64> =
        batches.iter().flat_map(|b| &b.micro_batches).flat_map(|b| b.sequences.rows.clone()).collect();
    rows.sort_unstable();
    assert!(rows.into_iter().eq(0..10));
}

#[test]
fn a_global_batch_holds_the_same_instances_and_masks_for_any_budget_and_world_size() {
    let dir = pretrain_dataset(50, false);
    let of = |masking, micro_batch_tokens, world_size| {
        let mut all = Vec::new();
        let mut masked = 0;
        for rank in 0..world_size {
            let config =
                StreamConfig { global_batch_size: 24, micro_batch_tokens, rank, world_size, ..Default::default() };
            let batch = stream(dir.path(), config, masking).global_batch(Cursor::default()).unwrap();
            masked += batch.micro_batches.iter().map(|b| b.masked_lm_ids.len() as u64).sum::<u64>();
            assert_eq!(batch.num_instances, 24);
            for b in &batch.micro_batches {
                for (i, w) in b.sequences.cu_seqlens.windows(2).enumerate() {
                    all.push((b.sequences.rows[i], b.sequences.input_ids[w[0] as usize..w[1] as usize].to_vec()));
                }
            }
            if rank + 1 == world_size {
                assert_eq!(masked, batch.num_masked);
            }
        }
        all.sort();
        all
    };
    for masking in [dynamic(), whole_words()] {
        let whole = of(masking, 1 << 20, 1);
        assert_eq!(of(masking, 64, 1), whole);
        assert_eq!(of(masking, 100, 3), whole);
    }
    assert_ne!(of(whole_words(), 64, 1), of(dynamic(), 64, 1));
}

#[test]
fn dynamic_masks_change_with_the_epoch_and_static_ones_do_not() {
    let dir = pretrain_dataset(8, true);
    let config = StreamConfig { global_batch_size: 8, ..Default::default() };
    let of = |masking, epoch| {
        let batch = stream(dir.path(), config, masking).global_batch(Cursor { epoch, offset: 0 }).unwrap();
        let mut rows: Vec<_> = batch
            .micro_batches
            .iter()
            .flat_map(|b| {
                let s = &b.sequences;
                s.cu_seqlens
                    .windows(2)
                    .zip(&s.rows)
                    .map(|(w, &row)| (row, s.input_ids[w[0] as usize..w[1] as usize].to_vec()))
            })
            .collect();
        rows.sort();
        rows
    };
    assert_eq!(of(Masking::Static, 0), of(Masking::Static, 1));
    assert_ne!(of(dynamic(), 0), of(dynamic(), 1));
    assert_eq!(of(dynamic(), 1), of(dynamic(), 1));
}

#[test]
fn masked_ids_restore_the_clean_text() {
    let dir = pretrain_dataset(20, false);
    let config = StreamConfig { global_batch_size: 20, ..Default::default() };
    let stream = stream(dir.path(), config, dynamic());
    let dataset = crate::Dataset::open(dir.path()).unwrap();
    for batch in stream.global_batch(Cursor::default()).unwrap().micro_batches {
        let mut ids = batch.sequences.input_ids.clone();
        for (&position, &id) in batch.masked_lm_positions.iter().zip(&batch.masked_lm_ids) {
            ids[position as usize] = id;
        }
        for (w, &row) in batch.sequences.cu_seqlens.windows(2).zip(&batch.sequences.rows) {
            let clean: Vec<i64> = dataset.pretrain_row(row).unwrap().input_ids.iter().map(i64::from).collect();
            assert_eq!(ids[w[0] as usize..w[1] as usize], clean);
        }
    }
}

#[test]
fn static_masks_are_refused_where_there_are_none() {
    let dir = pretrain_dataset(2, false);
    let dataset = Arc::new(crate::Dataset::open(dir.path()).unwrap());
    let error = PretrainGather::new(dataset, Masking::Static, 0).unwrap_err();
    assert!(error.to_string().contains("expected static masks, found a dataset built with dynamic masking"));
}
