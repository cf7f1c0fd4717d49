//! Several processes as one trainer, over torch's c10d: a store where they meet, collectives on tensors, and an all-reduce of
//! gradients that runs while the backward pass still does.

use std::ffi::CString;
use std::ptr;
use std::time::Duration;

use libc::c_int;
use tch::Tensor;

use crate::{Error, Result, check, ffi, load, take_string};

/// Where and as what a process meets the others.
#[derive(Clone, Debug)]
pub struct Meeting<'a> {
    /// Host of the store's server.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// Whether this process is the server.
    pub is_server: bool,
    /// Put before all keys, so that an earlier attempt on the same server is not met.
    pub prefix: &'a str,
    /// How long to try to connect.
    pub timeout: Duration,
}

/// Keys and values that all processes see: torch's `TCPStore`.
#[derive(Debug)]
pub struct Store(*mut ffi::Store);

impl Store {
    /// Serves the store, or connects to its server.
    ///
    /// # Errors
    /// The port is in use; the server does not answer in time.
    pub fn open(meeting: &Meeting<'_>) -> Result<Self> {
        let (host, prefix) = (c_string(meeting.host)?, c_string(meeting.prefix)?);
        let mut store = ptr::null_mut();
        call!(cloze_store_open(
            host.as_ptr(),
            meeting.port,
            c_int::from(meeting.is_server),
            prefix.as_ptr(),
            milliseconds(meeting.timeout),
            &mut store
        ))?;
        Ok(Self(store))
    }

    /// Adds `by` to the number under `key`, 0 at first, and returns the sum.
    ///
    /// # Errors
    /// The server is gone.
    pub fn add(&self, key: &str, by: i64) -> Result<i64> {
        let key = c_string(key)?;
        let mut sum = 0;
        call!(cloze_store_add(self.0, key.as_ptr(), by, &mut sum))?;
        Ok(sum)
    }

    /// Puts `text` under `key`.
    ///
    /// # Errors
    /// The server is gone.
    pub fn set(&self, key: &str, text: &str) -> Result<()> {
        let (key, text) = (c_string(key)?, c_string(text)?);
        call!(cloze_store_set(self.0, key.as_ptr(), text.as_ptr()))
    }

    /// The text under `key`, waited for.
    ///
    /// # Errors
    /// The server is gone, or nobody has put one there within the meeting's timeout.
    pub fn get(&self, key: &str) -> Result<String> {
        let key = c_string(key)?;
        let mut text = ptr::null_mut();
        call!(cloze_store_get(self.0, key.as_ptr(), &mut text))?;
        Ok(take_string(text))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: made by cloze_store_open, freed once, here.
        unsafe { ffi::cloze_store_free(self.0) };
    }
}

/// Where Gloo listens for the other processes.
#[derive(Debug)]
pub struct Interface(*mut ffi::Interface);

impl Interface {
    /// The network interface of that name.
    ///
    /// # Errors
    /// There is none, or it has no address.
    pub fn named(name: &str) -> Result<Self> {
        Self::open(name, true)
    }

    /// The one with that address, given in numbers or by a host name.
    ///
    /// # Errors
    /// The address is no address of this machine.
    pub fn of_address(address: &str) -> Result<Self> {
        Self::open(address, false)
    }

    fn open(name: &str, is_name: bool) -> Result<Self> {
        let name = c_string(name)?;
        let mut interface = ptr::null_mut();
        call!(cloze_interface_open(name.as_ptr(), c_int::from(is_name), &mut interface))?;
        Ok(Self(interface))
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        // SAFETY: made by cloze_interface_open, freed once, here; backends hold references of their own.
        unsafe { ffi::cloze_interface_free(self.0) };
    }
}

/// How long processes wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For all to connect.
    pub connect: Duration,
    /// For a peer that is silent in an operation.
    pub operation: Duration,
    /// For a peer whose host does not answer.
    pub host: Duration,
}

/// What an all-reduce leaves in every process's tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// The sum over all processes.
    Sum,
    /// The maximum.
    Maximum,
}

/// Collectives: every process calls the same ones, in the same order, with tensors of the same shape.
#[derive(Debug)]
pub struct Backend(*mut ffi::Backend);

impl Backend {
    /// Gloo, between CPUs over TCP. Operations fail at once when a peer's connection closes, and after a while (`timeouts`)
    /// when it is silent or its host does not answer. The latter holds for all TCP connections that this process has by now.
    ///
    /// # Errors
    /// A peer does not come.
    pub fn gloo(
        store: &Store,
        interface: &Interface,
        (rank, world_size): (u32, u32),
        timeouts: Timeouts,
    ) -> Result<Self> {
        let mut backend = ptr::null_mut();
        call!(cloze_backend_gloo(
            store.0,
            interface.0,
            number(rank)?,
            number(world_size)?,
            milliseconds(timeouts.connect),
            milliseconds(timeouts.operation),
            milliseconds(timeouts.host),
            &mut backend
        ))?;
        Ok(Self(backend))
    }

    /// NCCL, between CUDA devices, of which this process has number `device` of its machine.
    ///
    /// # Errors
    /// The library over NCCL is not there, or does not load.
    pub fn nccl(store: &Store, rank: u32, world_size: u32, device: usize, timeout: Duration) -> Result<Self> {
        let make = load::nccl().map_err(Error::Torch)?;
        let device = c_int::try_from(device).map_err(|_| Error::Device(tch::Device::Cuda(device)))?;
        let (rank, world_size) = (number(rank)?, number(world_size)?);
        let (mut backend, mut error) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: `store` is live during the call; the function catches all C++ exceptions and writes `error` only when it
        // returns non-zero.
        let code = unsafe { make(store.0, rank, world_size, device, milliseconds(timeout), &mut backend, &mut error) };
        check(code, error)?;
        Ok(Self(backend))
    }

    /// Reduces `tensor` in place over all processes.
    ///
    /// # Errors
    /// A peer is gone or silent.
    pub fn all_reduce(&self, tensor: &Tensor, reduce: Reduce) -> Result<()> {
        call!(cloze_all_reduce(self.0, tensor.as_ptr(), c_int::from(reduce == Reduce::Maximum)))
    }

    /// Gives `tensor` the values it has in process `root`.
    ///
    /// # Errors
    /// A peer is gone or silent.
    pub fn broadcast(&self, tensor: &Tensor, root: u32) -> Result<()> {
        call!(cloze_broadcast(self.0, tensor.as_ptr(), number(root)?))
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // SAFETY: made by a constructor above, freed once, here; reducers hold references of their own.
        unsafe { ffi::cloze_backend_free(self.0) };
    }
}

/// Sums slices of a flat gradient ("buckets") over all processes, each as soon as autograd is done with it.
#[derive(Debug)]
pub struct Reducer(*mut ffi::Reducer);

impl Reducer {
    /// Listens to `leaves`; leaf `i` has its gradient in `buckets[bucket_of[i]]`. Buckets are summed in their order, so the
    /// first should be done first. A leaf has one reducer, the last that was made for it.
    ///
    /// # Errors
    /// When memory runs out.
    ///
    /// # Panics
    /// `leaves` and `bucket_of` differ in length, or a bucket is out of range.
    pub fn new(backend: &Backend, leaves: &[&Tensor], bucket_of: &[usize], buckets: &[Tensor]) -> Result<Self> {
        assert!(leaves.len() == bucket_of.len() && bucket_of.iter().all(|&bucket| bucket < buckets.len()));
        let leaves: Vec<_> = leaves.iter().map(|leaf| leaf.as_ptr()).collect();
        let slices: Vec<_> = buckets.iter().map(|bucket| bucket.as_ptr()).collect();
        let mut reducer = ptr::null_mut();
        call!(cloze_reducer_new(
            backend.0,
            leaves.as_ptr().cast(),
            bucket_of.as_ptr(),
            leaves.len(),
            slices.as_ptr().cast(),
            slices.len(),
            &mut reducer
        ))?;
        Ok(Self(reducer))
    }

    /// Before the backward pass after which the gradient is whole.
    pub fn arm(&self) -> Result<()> {
        call!(cloze_reducer_arm(self.0))
    }

    /// After that backward pass: starts what the loss of this process did not reach.
    ///
    /// # Errors
    /// A peer is gone; the gradient is then undefined.
    pub fn finish(&self) -> Result<()> {
        call!(cloze_reducer_finish(self.0))
    }

    /// After that: waits until all buckets are summed. Gloo waits as long as its backend was told to, NCCL for `timeout`.
    ///
    /// # Errors
    /// A peer is gone or silent; the gradient is then undefined.
    pub fn wait(&self, timeout: Duration) -> Result<()> {
        call!(cloze_reducer_wait(self.0, milliseconds(timeout)))
    }

    /// Gives up what is under way, after an error: a GPU inside of an operation whose peer is gone is free again. Nothing can be
    /// reduced over NCCL from here on. A second time does nothing.
    ///
    /// # Errors
    /// NCCL refuses.
    pub fn abort(&self) -> Result<()> {
        call!(cloze_reducer_abort(self.0))
    }
}

impl Drop for Reducer {
    fn drop(&mut self) {
        // SAFETY: made by cloze_reducer_new, freed once, here; hooks of leaves hold references of their own.
        unsafe { ffi::cloze_reducer_free(self.0) };
    }
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::Torch(format!("expected a text without NUL, found {text:?}")))
}

fn number(number: u32) -> Result<c_int> {
    c_int::try_from(number).map_err(|_| Error::Torch(format!("expected a rank below 2^31, found {number}")))
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    /// Both "processes" are threads of this one: c10d does not mind.
    fn pair<T: Send>(work: impl Fn(u32, Backend) -> T + Sync) -> Vec<T> {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        std::thread::scope(|scope| {
            let member = |rank| {
                let work = &work;
                scope.spawn(move || {
                    let timeout = Duration::from_secs(20);
                    let meeting = Meeting { host: "127.0.0.1", port, is_server: rank == 0, prefix: "test", timeout };
                    let store = Store::open(&meeting).unwrap();
                    let timeouts = Timeouts { connect: timeout, operation: timeout, host: timeout };
                    let backend = Backend::gloo(&store, &Interface::named("lo").unwrap(), (rank, 2), timeouts).unwrap();
                    let done = work(rank, backend);
                    // The server stays until the other one has finished, too.
                    store.add("done", 1).unwrap();
                    while rank == 0 && store.add("done", 0).unwrap() < 2 {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    done
                })
            };
            let members = [member(0), member(1)];
            members.map(|member| member.join().unwrap()).into_iter().collect()
        })
    }

    #[test]
    fn tensors_are_summed_maximised_and_broadcast() {
        let results = pair(|rank, backend| {
            let mine = || Tensor::from_slice(&[f64::from(rank) + 1.0, 10.0]);
            let (sum, maximum, from_1) = (mine(), mine(), mine());
            backend.all_reduce(&sum, Reduce::Sum).unwrap();
            backend.all_reduce(&maximum, Reduce::Maximum).unwrap();
            backend.broadcast(&from_1, 1).unwrap();
            [sum, maximum, from_1].map(|t| Vec::<f64>::try_from(t).unwrap())
        });
        for result in results {
            assert_eq!(result, [vec![3.0, 20.0], vec![2.0, 10.0], vec![2.0, 10.0]]);
        }
    }

    #[test]
    fn gradients_are_summed_in_backward_even_of_leaves_that_one_loss_does_not_reach() {
        let results = pair(|rank, backend| {
            let gradient = Tensor::zeros([4], (Kind::Float, Device::Cpu));
            let leaf = |at: i64| {
                let leaf = Tensor::ones([2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
                crate::set_grad(&leaf, &gradient.narrow(0, at, 2)).unwrap();
                leaf
            };
            let leaves = [leaf(0), leaf(2)];
            let buckets = [gradient.narrow(0, 2, 2), gradient.narrow(0, 0, 2)];
            let reducer = Reducer::new(&backend, &[&leaves[0], &leaves[1]], &[1, 0], &buckets).unwrap();
            let all = |leaf: &Tensor| leaf.sum(Kind::Float);
            for _micro_batch_before_the_last in 0..2 {
                all(&leaves[0]).backward();
            }
            reducer.arm().unwrap();
            let loss = all(&leaves[0]) * 10.0;
            let loss = if rank == 0 { loss } else { loss + all(&leaves[1]) * 5.0 };
            loss.backward();
            reducer.finish().unwrap();
            reducer.wait(Duration::from_secs(20)).unwrap();
            Vec::<f32>::try_from(&gradient).unwrap()
        });
        assert_eq!(results, [[24.0, 24.0, 5.0, 5.0], [24.0, 24.0, 5.0, 5.0]]);
    }

    #[test]
    fn a_peer_that_leaves_is_an_error_at_once() {
        let started = std::time::Instant::now();
        let results = pair(|rank, backend| {
            if rank == 1 {
                return None;
            }
            Some(backend.all_reduce(&Tensor::from_slice(&[1.0]), Reduce::Sum).unwrap_err().to_string())
        });
        assert!(results[0].as_ref().unwrap().contains("onnection"), "{results:?}");
        assert!(started.elapsed() < Duration::from_secs(15));
    }

    #[test]
    fn a_store_keeps_texts() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let timeout = Duration::from_millis(200);
        let meeting = Meeting { host: "127.0.0.1", port, is_server: true, prefix: "test", timeout };
        let store = Store::open(&meeting).unwrap();
        store.set("why", "no eth7: \u{e9}").unwrap();
        assert_eq!(store.get("why").unwrap(), "no eth7: \u{e9}");
        assert!(store.get("nothing").is_err());
    }

    #[test]
    fn an_interface_is_one_of_this_machine() {
        assert!(Interface::named("no-such-interface").is_err());
        assert!(Interface::of_address("127.0.0.1").is_ok());
        // Reserved for documentation: nobody's.
        assert!(Interface::of_address("192.0.2.1").is_err());
    }

    #[test]
    fn a_port_in_use_is_an_error() {
        let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let meeting = Meeting { host: "127.0.0.1", port, is_server: true, prefix: "", timeout: Duration::from_secs(2) };
        let error = Store::open(&meeting).unwrap_err().to_string();
        assert!(error.contains("EADDRINUSE") || error.contains("in use"), "{error}");
    }
}
