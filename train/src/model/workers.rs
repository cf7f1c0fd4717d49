//! Threads that compute micro-batches of one step side by side, on the CPU.
//!
//! One after the other, each on all threads, micro-batches leave threads waiting at the end of every layer's every part. A worker
//! waits for the others once a step.

use std::cmp::Reverse;
use std::sync::{Mutex, PoisonError};

use cloze_torch_ext::set_num_threads;
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
    /// How many workers `threads` threads make: one each, or so many as leave the fewest without work when they share evenly.
    pub fn number(threads: u32) -> u32 {
        (2..=MOST.min(threads)).max_by_key(|count| (threads / count * count, *count)).unwrap_or(1)
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
        pool.broadcast(|_| set_num_threads(threads_each)).into_iter().collect::<std::result::Result<Vec<_>, _>>()?;
        set_num_threads(threads)?;
        let replicas = (0..count).map(|index| bert.replica(index == 0).map(Mutex::new)).collect::<Result<_>>()?;
        Ok(Self { pool, replicas })
    }

    /// Who computes which of the micro-batches of these sizes: their indices, worker by worker. The largest first, each to who has
    /// least; a function of the sizes alone, as sums must not depend on who is quick.
    pub fn shares(&self, sizes: &[usize]) -> Vec<Vec<usize>> {
        shares(sizes, self.replicas.len())
    }

    /// Runs `work` on every worker's replica, its gradient 0 and of this scale, and adds the gradients up to the model's. What it
    /// gives, in order.
    pub fn run<R: Send>(&self, gradient_scale: f64, work: impl Fn(&Bert, usize) -> Result<R> + Sync) -> Result<Vec<R>> {
        let results = self.pool.broadcast(|context| {
            let index = context.index();
            let mut replica = self.replicas[index].lock().unwrap_or_else(PoisonError::into_inner);
            replica.parameters_mut().set_gradient_scale(gradient_scale);
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
    use crate::model::Head;
    use crate::model::config::BertConfig;
    use cloze_torch_ext::kernel_threads;
    use tch::Device;

    #[test]
    fn threads_are_shared_evenly() {
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 64].map(Workers::number), [1, 1, 2, 3, 4, 4, 3, 3, 4, 3, 4]);
    }

    #[test]
    fn workers_share_torch_s_threads_and_leave_others_theirs() {
        let config = BertConfig { vocab_size: 24, hidden_size: 16, num_hidden_layers: 1, ..BertConfig::default() };
        let config = BertConfig { num_attention_heads: 1, intermediate_size: 16, ..config };
        let bert = Bert::new(config, Head::PreTraining, Device::Cpu, 1).unwrap();
        let before = tch::get_num_threads();
        set_num_threads(4).unwrap();
        let workers = Workers::new(&bert, 2).unwrap();
        let threads = || (tch::get_num_threads(), kernel_threads());
        assert_eq!(workers.run(1.0, |_, _| Ok(threads())).unwrap(), [(2, 2), (2, 2)]);
        assert_eq!(threads(), (4, 4));
        set_num_threads(before).unwrap();
    }

    #[test]
    fn workers_get_alike_shares_and_each_micro_batch_once() {
        assert_eq!(shares(&[10, 40, 30, 20, 10], 2), [vec![1, 0, 4], vec![2, 3]]);
        assert_eq!(shares(&[7], 3), [vec![0], vec![], vec![]]);
    }
}
