//! Dealing a global batch to ranks and cutting each rank's share into micro-batches.

use std::cmp::Reverse;

/// Indices into `lengths`, dealt to `num_workers` and each worker's cut by [`within_budget`]. Less than one instance per worker
/// makes fewer micro-batches.
pub(super) fn micro_batches(lengths: &[usize], budget: u64, num_workers: u32) -> Vec<Vec<usize>> {
    let of_worker = |worker| within_budget(lengths, deal(lengths, worker, num_workers), budget);
    (0..num_workers).flat_map(of_worker).collect()
}

/// `members`, indices into `lengths`, sorted by length and cut so that sequences x longest stays within `budget`.
///
/// Order inside a global batch is statistically free, so sorting it by length removes nearly all padding. Longest first:
/// the first micro-batch then takes all the memory a step needs.
fn within_budget(lengths: &[usize], mut members: Vec<usize>, budget: u64) -> Vec<Vec<usize>> {
    members.sort_by_key(|&i| (Reverse(lengths[i]), i));
    let mut cut = Vec::new();
    let mut rest = &members[..];
    while let Some(&longest) = rest.first() {
        let fit = (budget / lengths[longest].max(1) as u64).clamp(1, rest.len() as u64) as usize;
        let (head, tail) = rest.split_at(fit);
        cut.push(head.to_vec());
        rest = tail;
    }
    cut
}

/// What falls to `hand` of `num_hands`, a rank or a worker: indices into `lengths`, ascending.
///
/// Dealt by length, longest first, to and fro: rank 0 to the last, then the last to rank 0. Tokens (and attention's squares)
/// of two hands differ by less than those of the longest instance, counts by at most 1.
pub(super) fn deal(lengths: &[usize], hand: u32, num_hands: u32) -> Vec<usize> {
    let (hand, num_hands) = (hand as usize, num_hands as usize);
    let mut by_length: Vec<usize> = (0..lengths.len()).collect();
    by_length.sort_by_key(|&i| (Reverse(lengths[i]), i));
    let mut dealt: Vec<usize> = by_length
        .chunks(num_hands)
        .enumerate()
        .filter_map(|(round, dealt)| {
            let place = if round.is_multiple_of(2) { hand } else { num_hands - 1 - hand };
            dealt.get(place).copied()
        })
        .collect();
    dealt.sort_unstable();
    dealt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_micro_batch_exceeds_the_budget_unless_it_is_one_sequence() {
        let lengths = [5, 100, 7, 30, 30, 29, 4, 4, 300];
        for num_workers in [1, 2, 20] {
            let cut = micro_batches(&lengths, 120, num_workers);
            for batch in &cut {
                assert!(batch.len() == 1 || batch.len() * lengths[batch[0]] <= 120, "{cut:?}");
            }
            let mut all: Vec<usize> = cut.concat();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..9));
        }
    }

    #[test]
    fn workers_have_micro_batches_of_equal_work_even_where_one_would_hold_all() {
        let cut = micro_batches(&[128; 32], 4096, 2);
        assert_eq!(cut.iter().map(Vec::len).collect::<Vec<_>>(), [16, 16]);
    }

    #[test]
    fn ranks_share_all_instances_and_have_equal_work() {
        let lengths: Vec<usize> = (0..101).map(|i| 1 + (i * i) % 128).collect();
        for world_size in 1..=8 {
            let ranks: Vec<Vec<usize>> = (0..world_size).map(|r| deal(&lengths, r, world_size)).collect();
            let mut all = ranks.concat();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..101), "{world_size}");
            let tokens = ranks.iter().map(|mine| mine.iter().map(|&i| lengths[i]).sum::<usize>());
            assert!(tokens.clone().max().unwrap() - tokens.min().unwrap() < 128, "{world_size}");
            let counts = ranks.iter().map(Vec::len);
            assert!(counts.clone().max().unwrap() - counts.min().unwrap() <= 1, "{world_size}");
        }
    }
}
