//! Dealing a global batch to ranks and cutting each rank's share into micro-batches.

use std::cmp::Reverse;

/// Indices into `lengths`, sorted by length and cut so that sequences x longest stays within `budget`.
///
/// Order inside a global batch is statistically free, so sorting it by length removes nearly all padding. Longest first:
/// the first micro-batch then takes all the memory a step needs.
pub(super) fn micro_batches(lengths: &[usize], budget: u64) -> Vec<Vec<usize>> {
    let by_length = by_length(lengths);
    let mut cut = Vec::new();
    let mut rest = &by_length[..];
    while let Some(&longest) = rest.first() {
        let fit = (budget / lengths[longest].max(1) as u64).clamp(1, rest.len() as u64) as usize;
        let (head, tail) = rest.split_at(fit);
        cut.push(head.to_vec());
        rest = tail;
    }
    cut
}

/// The instances of `rank`, as indices into `lengths`, ascending.
///
/// Dealt by length, longest first, to and fro: rank 0 to the last, then the last to rank 0. Tokens (and attention's squares)
/// of two ranks differ by less than those of the longest instance, counts by at most 1.
pub(super) fn deal_to_rank(lengths: &[usize], rank: u32, world_size: u32) -> Vec<usize> {
    let (rank, world_size) = (rank as usize, world_size as usize);
    let mut mine: Vec<usize> = by_length(lengths)
        .chunks(world_size)
        .enumerate()
        .filter_map(|(round, dealt)| {
            let place = if round.is_multiple_of(2) { rank } else { world_size - 1 - rank };
            dealt.get(place).copied()
        })
        .collect();
    mine.sort_unstable();
    mine
}

/// Indices of `lengths`, longest first.
fn by_length(lengths: &[usize]) -> Vec<usize> {
    let mut by_length: Vec<usize> = (0..lengths.len()).collect();
    by_length.sort_by_key(|&i| (Reverse(lengths[i]), i));
    by_length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_micro_batch_exceeds_the_budget_unless_it_is_one_sequence() {
        let lengths = [5, 100, 7, 30, 30, 29, 4, 4, 300];
        let cut = micro_batches(&lengths, 120);
        for batch in &cut {
            assert!(batch.len() == 1 || batch.len() * lengths[batch[0]] <= 120, "{cut:?}");
        }
        let mut all: Vec<usize> = cut.concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..9));
    }

    #[test]
    fn ranks_share_all_instances_and_have_equal_work() {
        let lengths: Vec<usize> = (0..101).map(|i| 1 + (i * i) % 128).collect();
        for world_size in 1..=8 {
            let ranks: Vec<Vec<usize>> = (0..world_size).map(|r| deal_to_rank(&lengths, r, world_size)).collect();
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
