//! The processes of a run as one: agreement between them, and the gradient of all.

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use cloze_torch_ext::distributed::{Backend, Reduce, Reducer, Store};
use tch::{Device, Tensor};

use super::meeting::{Met, meet};
use super::{Patience, World};
use crate::error::{Error, Result};
use crate::parameters::Parameters;
use crate::progress;

/// How long the last buckets may take once all processes have sent theirs on their way: the time is the network's alone.
const NETWORK_TIMEOUT: Duration = Duration::from_secs(120);

/// Elements of a gradient bucket: 16 MiB of f32, large enough for the network, small enough to be on its way early.
const BUCKET_LEN: i64 = 4 << 20;

/// The processes of a run. Every process makes the same calls in the same order. A process on its own waits for nobody.
#[derive(Debug)]
pub struct Group {
    world: World,
    links: Option<Links>,
}

#[derive(Debug)]
struct Links {
    /// Between CPUs; numbers and agreement.
    control: Backend,
    /// Keeps the server of the store alive in the process that runs it.
    store: Store,
    patience: Patience,
}

impl Group {
    /// A process on its own.
    pub fn alone() -> Self {
        Self { world: World::alone(), links: None }
    }

    /// Meets the other processes of `world`. From here on only the first of them says what it does.
    ///
    /// # Errors
    /// The meeting point cannot be reached or is taken, a process does not come, or two cannot reach each other.
    pub fn join(world: World, patience: Patience) -> Result<Self> {
        let Some(point) = world.meeting_point.clone().filter(|_| !world.is_alone()) else {
            return Ok(Self { world, links: None });
        };
        progress::be_quiet(!world.is_first());
        let Met { store, control, core_sharers } = meet(&world, &point, patience)?;
        let world = World { core_sharers, ..world };
        Ok(Self { world, links: Some(Links { control, store, patience }) })
    }

    /// Who this process is.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Whether this process writes and reports for all.
    pub fn is_first(&self) -> bool {
        self.world.is_first()
    }

    /// Sums each value over all processes.
    ///
    /// # Errors
    /// A process is lost.
    pub fn sum(&self, values: &[f64]) -> Result<Vec<f64>> {
        self.reduce(values, Reduce::Sum)
    }

    /// The largest `value` of any process.
    ///
    /// # Errors
    /// A process is lost.
    pub fn maximum(&self, value: f64) -> Result<f64> {
        Ok(self.reduce(&[value], Reduce::Maximum)?[0])
    }

    fn reduce(&self, values: &[f64], how: Reduce) -> Result<Vec<f64>> {
        let Some(links) = &self.links else { return Ok(values.to_vec()) };
        let tensor = Tensor::f_from_slice(values)?;
        links.control.all_reduce(&tensor, how).map_err(|error| lost(&error))?;
        Ok(Vec::try_from(tensor)?)
    }

    /// Adds up `values`, place by place, over all processes.
    ///
    /// # Errors
    /// A process is lost.
    pub fn sum_in_place(&self, values: &mut [f32]) -> Result<()> {
        let Some(links) = &self.links else { return Ok(()) };
        let tensor = Tensor::f_from_slice(values)?;
        links.control.all_reduce(&tensor, Reduce::Sum).map_err(|error| lost(&error))?;
        Ok(tensor.f_copy_data(values, values.len())?)
    }

    /// Passes `result` on if every process has succeeded. Of those that failed, the one of the lowest rank keeps its error, the
    /// others get [`Error::Peer`].
    ///
    /// # Errors
    /// See above.
    pub fn agree<T>(&self, result: Result<T>) -> Result<T> {
        if self.links.is_none() {
            return result;
        }
        let failed = match &result {
            Ok(_) => f64::MIN,
            // Of an error that was agreed on before, its owner keeps it.
            Err(Error::Peer { rank }) => -f64::from(*rank),
            Err(_) => -f64::from(self.world.rank),
        };
        match self.maximum(failed) {
            Ok(f64::MIN) => result,
            Ok(first) if result.is_err() && first == failed => result,
            Ok(first) => Err(Error::Peer { rank: -first as u32 }),
            // The error that was there before tells more.
            Err(lost) => Err(result.err().unwrap_or(lost)),
        }
    }

    /// Checks that `what` is the same in all processes, of which this one has the lines `mine`.
    ///
    /// # Errors
    /// It differs from the first process's; the message shows the first line that does.
    pub fn same(&self, what: &str, mine: &str) -> Result<()> {
        let theirs = self.text_of_first(mine)?;
        let differing = || mine.lines().zip(theirs.lines()).find(|(a, b)| a != b).unwrap_or((mine, &theirs));
        let message = || {
            let (mine, theirs) = differing();
            let rank = self.world.rank;
            format!("{what}: expected the same in all processes, found {mine} in rank {rank} and {theirs} in rank 0")
        };
        self.agree(if theirs == mine { Ok(()) } else { Err(Error::Invalid(message())) })
    }

    /// The text that the first process gives here.
    fn text_of_first(&self, mine: &str) -> Result<String> {
        let Some(links) = &self.links else { return Ok(mine.to_owned()) };
        let is_first = self.is_first();
        let len = self.maximum(if is_first { mine.len() as f64 } else { 0.0 })? as usize;
        let bytes = if is_first { mine.as_bytes().to_vec() } else { vec![0; len] };
        let tensor = Tensor::f_from_slice(&bytes)?;
        links.control.broadcast(&tensor, 0).map_err(|error| lost(&error))?;
        Ok(String::from_utf8_lossy(&Vec::<u8>::try_from(tensor)?).into_owned())
    }

    /// NCCL between GPUs, where all processes have it; without it gradients travel through the hosts.
    fn nccl(&self, device: Device) -> Result<Option<Backend>> {
        let (Some(links), Device::Cuda(index)) = (&self.links, device) else { return Ok(None) };
        let World { rank, world_size, .. } = self.world;
        let everywhere = |made: std::result::Result<Backend, cloze_torch_ext::Error>| -> Result<Option<Backend>> {
            if let Err(error) = &made {
                progress::say_always(&format!("rank {rank}: no NCCL, gradients go through the hosts: {error}"));
            }
            let is_missing_somewhere = self.maximum(f64::from(u8::from(made.is_err())))? > 0.0;
            Ok(made.ok().filter(|_| !is_missing_somewhere))
        };
        let made = Backend::nccl(&links.store, rank, world_size, index, links.patience.operation);
        let Some(made) = everywhere(made)? else { return Ok(None) };
        // It connects at the first operation: two processes on one GPU, for instance, are refused only then.
        let one = Tensor::f_ones([1], (tch::Kind::Float, device))?;
        everywhere(made.all_reduce(&one, Reduce::Sum).map(|()| made))
    }

    /// Gives every process the first one's values of `tensor`.
    ///
    /// # Errors
    /// A process is lost.
    pub fn broadcast(&self, tensor: &Tensor) -> Result<()> {
        let Some(links) = &self.links else { return Ok(()) };
        let on_cpu = tensor.f_to_device(Device::Cpu)?;
        links.control.broadcast(&on_cpu, 0).map_err(|error| lost(&error))?;
        let mut tensor = tensor.shallow_clone();
        tensor.f_copy_(&on_cpu)?;
        Ok(())
    }
}

pub(super) fn lost(error: &cloze_torch_ext::Error) -> Error {
    Error::LostPeer { message: error.to_string() }
}

/// The gradient of a step over all processes of a group.
#[derive(Debug)]
pub struct DataParallel {
    group: Rc<Group>,
    reducer: Option<Reducer>,
}

impl DataParallel {
    /// Of a process on its own.
    pub fn alone() -> Self {
        Self { group: Rc::new(Group::alone()), reducer: None }
    }

    /// Sums the gradient of `parameters` over `group`, bucket by bucket, while backward runs; the values of the first
    /// process's parameters are given to all.
    ///
    /// # Errors
    /// A process is lost.
    pub fn new(group: Rc<Group>, parameters: &Parameters) -> Result<Self> {
        group.broadcast(parameters.flat())?;
        let Some(links) = &group.links else { return Ok(Self { group, reducer: None }) };
        let ranges = parameters.leaf_ranges();
        let (buckets, bucket_of) = buckets(ranges, parameters.decayed_len(), BUCKET_LEN);
        let slices: std::result::Result<Vec<Tensor>, _> =
            buckets.iter().map(|r| parameters.gradient().f_narrow(0, r.start, r.end - r.start)).collect();
        let leaves: Vec<&Tensor> = parameters.leaves().iter().collect();
        let nccl = group.nccl(parameters.flat().device())?;
        let backend = nccl.as_ref().unwrap_or(&links.control);
        let reducer = Reducer::new(backend, &leaves, &bucket_of, &slices?)?;
        Ok(Self { group, reducer: Some(reducer) })
    }

    /// The processes.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Before the last backward pass of a step, or where there is none.
    pub fn before_last_backward(&self) -> Result<()> {
        self.reducer.as_ref().map_or(Ok(()), |reducer| Ok(reducer.arm()?))
    }

    /// After it: the sums over all processes of what `read` gives. On return the gradient is that of all processes, too.
    ///
    /// The sums are read and added up over the hosts while the gradient is under way: should a process be gone, this one hears
    /// of it there, and not inside of its GPU, where it would wait for ever.
    ///
    /// # Errors
    /// A process is lost; the gradient is then undefined, parameters and moments are as before.
    pub fn after_last_backward(&self, read: impl FnOnce() -> Result<Vec<f64>>) -> Result<Vec<f64>> {
        let Some(reducer) = &self.reducer else { return self.group.sum(&read()?) };
        let sums = || {
            reducer.finish().map_err(|error| lost(&error))?;
            let sums = self.group.sum(&read()?)?;
            reducer.wait(NETWORK_TIMEOUT).map_err(|error| lost(&error))?;
            Ok(sums)
        };
        sums().inspect_err(|_| self.give_up())
    }

    /// After an error before, amid or after the last backward pass: frees a GPU of sums that are under way.
    pub fn give_up(&self) {
        if let Some(Err(error)) = self.reducer.as_ref().map(Reducer::abort) {
            progress::say(&error.to_string());
        }
    }
}

/// Cuts the flat gradient into contiguous buckets of about `len` elements, and tells the bucket of each leaf.
///
/// Backward comes from the end of the model to its beginning, and so do the buckets: first those of decayed parameters from the
/// last to the first, then the rest, which all layers have some of.
fn buckets(leaves: &[Range<i64>], decayed_len: i64, len: i64) -> (Vec<Range<i64>>, Vec<usize>) {
    let mut order: Vec<usize> = (0..leaves.len()).collect();
    order.sort_by_key(|&leaf| (leaves[leaf].start >= decayed_len, -leaves[leaf].start));
    let mut buckets: Vec<Range<i64>> = Vec::new();
    let mut bucket_of = vec![0; leaves.len()];
    for leaf in order {
        let Range { start, end } = leaves[leaf];
        match buckets.last_mut() {
            Some(bucket) if bucket.end - start <= len && (bucket.start >= decayed_len) == (start >= decayed_len) => {
                bucket.start = start;
            }
            _ => buckets.push(start..end),
        }
        bucket_of[leaf] = buckets.len() - 1;
    }
    (buckets, bucket_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_every_leaf_once_and_the_last_decayed_ones_come_first() {
        let leaves = [0..50, 64..70, 80..112, 112..120, 128..130, 144..150];
        let (buckets, bucket_of) = buckets(&leaves, 112, 50);
        assert_eq!(buckets, [64..112, 0..50, 112..150]);
        assert_eq!(bucket_of, [1, 0, 0, 2, 2, 2]);
    }

    #[test]
    fn a_leaf_larger_than_a_bucket_has_one_of_its_own() {
        let (buckets, bucket_of) = buckets(&[0..1000, 1008..1010, 1024..1030], 1024, 16);
        assert_eq!(buckets, [1008..1010, 0..1000, 1024..1030]);
        assert_eq!(bucket_of, [1, 0, 2]);
    }

    #[test]
    fn a_process_on_its_own_agrees_with_itself() {
        let group = Group::alone();
        assert_eq!(group.sum(&[1.0, 2.0]).unwrap(), [1.0, 2.0]);
        assert_eq!(group.maximum(-3.0).unwrap(), -3.0);
        group.same("seed", "1").unwrap();
        let error = group.agree::<()>(Err(Error::Invalid("mine".to_owned()))).unwrap_err();
        assert_eq!(error.to_string(), "mine");
    }
}
