//! Cutting a global batch into micro-batches and dealing them to ranks.

use std::cmp::Reverse;

/// Indices into `lengths`, sorted by length and cut so that sequences x longest stays within `budget`.
///
/// Order inside a global batch is statistically free, so sorting it by length removes nearly all padding. Longest first:
/// the first micro-batch then takes all the memory a step needs.
pub(super) fn micro_batches(lengths: &[usize], budget: u64) -> Vec<Vec<usize>> {
    let mut by_length: Vec<usize> = (0..lengths.len()).collect();
    by_length.sort_by_key(|&i| (Reverse(lengths[i]), i));
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

/// The micro-batches of `rank`: each goes, largest first, to the rank with the fewest tokens so far.
pub(super) fn deal_to_ranks(lengths: &[usize], cut: Vec<Vec<usize>>, rank: u32, world_size: u32) -> Vec<Vec<usize>> {
    if world_size == 1 {
        return cut;
    }
    let tokens = |batch: &Vec<usize>| batch.iter().map(|&i| lengths[i] as u64).sum::<u64>();
    let mut by_tokens: Vec<(u64, Vec<usize>)> = cut.into_iter().map(|b| (tokens(&b), b)).collect();
    by_tokens.sort_by_key(|(tokens, _)| Reverse(*tokens));
    let mut load = vec![0u64; world_size as usize];
    let mut mine = Vec::new();
    for (tokens, batch) in by_tokens {
        let lightest = (0..load.len()).min_by_key(|&r| (load[r], r)).expect("at least one rank");
        load[lightest] += tokens;
        if lightest == rank as usize {
            mine.push(batch);
        }
    }
    mine
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
    fn ranks_share_all_micro_batches() {
        let lengths: Vec<usize> = (1..100).collect();
        let cut = micro_batches(&lengths, 200);
        let dealt: usize = (0..3).map(|r| deal_to_ranks(&lengths, cut.clone(), r, 3).len()).sum();
        assert_eq!(dealt, cut.len());
    }
}
