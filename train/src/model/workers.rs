//! Threads that compute micro-batches of one step side by side, on the CPU.
//!
//! One after the other, each on all threads, micro-batches leave threads waiting at the end of every layer's every part: a quarter
//! of the time of a small model on two threads. A worker waits for the others once a step.

use std::cmp::Reverse;
use std::sync::{Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::Bert;
use crate::error::{Error, Result};

/// More threads than this share workers: each of those has a gradient and a micro-batch of its own in memory.
const MOST: u32 = 4;

/// A thread each with a replica of the model: the same parameters, a gradient of its own (the first one's is the model's).
#[derive(Debug)]
pub struct Workers {
    pool: ThreadPool,
    replicas: Vec<Mutex<Bert>>,
}

impl Workers {
    /// How many workers `threads` threads make: one each, or the most that share them evenly.
    pub fn number(threads: u32) -> u32 {
        (1..=MOST.min(threads.max(1))).rev().find(|count| threads.is_multiple_of(*count)).unwrap_or(1)
    }

    /// `count` workers for `bert`, which share torch's threads.
    pub(super) fn new(bert: &Bert, count: u32) -> Result<Self> {
        let threads = tch::get_num_threads();
        let threads_each = (threads / count.cast_signed()).max(1);
        let failed = |error| Error::Invalid(format!("expected to start {count} threads, found: {error}"));
        let pool = ThreadPoolBuilder::new()
            .num_threads(count as usize)
            .thread_name(|index| format!("worker-{index}"))
            .build()
            .map_err(failed)?;
        pool.broadcast(|_| tch::set_num_threads(threads_each));
        // Torch's number is of the thread that sets it, and of those it has not seen yet.
        tch::set_num_threads(threads);
        let replicas = (0..count).map(|index| bert.replica(index == 0).map(Mutex::new)).collect::<Result<_>>()?;
        Ok(Self { pool, replicas })
    }

    /// Who computes which of the micro-batches of these sizes: their indices, worker by worker. The largest first, each to who has
    /// least; a function of the sizes alone, as sums must not depend on who is quick.
    pub fn shares(&self, sizes: &[usize]) -> Vec<Vec<usize>> {
        shares(sizes, self.replicas.len())
    }

    /// Runs `work` on every worker's replica, its gradient 0, and adds the gradients up to the model's. What it gives, in order.
    pub fn run<R: Send>(&self, work: impl Fn(&Bert, usize) -> Result<R> + Sync) -> Result<Vec<R>> {
        let results = self.pool.broadcast(|context| {
            let index = context.index();
            let mut replica = self.replicas[index].lock().unwrap_or_else(PoisonError::into_inner);
            replica.parameters_mut().zero_gradient()?;
            work(&replica, index)
        });
        let results = results.into_iter().collect::<Result<_>>()?;
        let gradient = |replica: &Mutex<Bert>| {
            replica.lock().unwrap_or_else(PoisonError::into_inner).parameters().gradient().shallow_clone()
        };
        let (first, others) = self.replicas.split_first().expect("there is at least one");
        let mut total = gradient(first);
        for other in others {
            let _ = total.f_add_(&gradient(other))?;
        }
        Ok(results)
    }
}

fn shares(sizes: &[usize], count: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&index| (Reverse(sizes[index]), index));
    let mut shares = vec![(0, Vec::new()); count];
    for index in order {
        let (load, share) = shares.iter_mut().min_by_key(|(load, _)| *load).expect("there is at least one");
        *load += sizes[index];
        share.push(index);
    }
    shares.into_iter().map(|(_, share)| share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_shared_evenly() {
        assert_eq!([0, 1, 2, 3, 4, 6, 7, 8, 9, 64].map(Workers::number), [1, 1, 2, 3, 4, 3, 1, 4, 3, 4]);
    }

    #[test]
    fn workers_get_alike_shares_and_each_micro_batch_once() {
        assert_eq!(shares(&[10, 40, 30, 20, 10], 2), [vec![1, 0, 4], vec![2, 3]]);
        assert_eq!(shares(&[7], 3), [vec![0], vec![], vec![]]);
    }
}
