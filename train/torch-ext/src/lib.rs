//! What tch lacks, over the same libtorch: late loading of CUDA, preset gradients, layers of
//! BERT, several processes. All of the trainer's foreign code and all its `unsafe` is here.
//!
//! Call [`load::cuda`] first in `main`, before anything asks torch about CUDA.
#![allow(unsafe_code)]

/// Calls a function of the shim, whose last argument is where it puts the message of a C++ exception.
macro_rules! call {
    ($function:ident($($argument:expr),*)) => {{
        let mut error: *mut libc::c_char = std::ptr::null_mut();
        // SAFETY: every pointer passed is made from a live reference or tensor by the calling function and is only
        // used during the call; the shim catches all C++ exceptions and writes `error` only when it returns non-zero.
        let code = unsafe { crate::ffi::$function($($argument,)* &mut error) };
        crate::check(code, error)
    }};
}

mod autocast;
pub mod distributed;
mod error;
mod ffi;
pub mod fused;
mod gpu;
pub mod load;

use std::ffi::CStr;

use libc::{c_char, c_int};
use tch::Tensor;
use torch_sys::C_tensor;

pub use autocast::{Autocast, HalfPrecision, cuda_has_bf16};
pub use error::{Error, Result};
pub use gpu::{Gpu, gpu};

/// Whether torch has CUDA: [`load::cuda`] found a driver and there is a device.
pub fn has_cuda() -> bool {
    let mut has_cuda = 0;
    call!(cloze_has_cuda(&mut has_cuda)).is_ok() && has_cuda != 0
}

/// The version of libtorch that this program was compiled against, such as `2.11.0`.
pub fn torch_version() -> &'static str {
    // SAFETY: the shim gives a string literal, which lives as long as the program.
    let version = unsafe { CStr::from_ptr(ffi::cloze_torch_version()) };
    version.to_str().unwrap_or("unknown")
}

/// The instruction set that torch's own CPU kernels use, such as `AVX2` or `AVX512`.
pub fn cpu_capability() -> Result<String> {
    let mut capability: *mut c_char = std::ptr::null_mut();
    call!(cloze_cpu_capability(&mut capability))?;
    Ok(take_string(capability))
}

/// Makes `gradient` the `.grad` of the leaf `parameter`, for backward to accumulate into in place.
///
/// Both have the same shape, kind and device, and share their storage with the caller's tensors (no copy is made).
///
/// # Errors
/// When shape, kind or device differ.
pub fn set_grad(parameter: &Tensor, gradient: &Tensor) -> Result<()> {
    if parameter.size() != gradient.size()
        || parameter.kind() != gradient.kind()
        || parameter.device() != gradient.device()
    {
        let describe = |t: &Tensor| format!("{:?} {:?} on {:?}", t.size(), t.kind(), t.device());
        return Err(Error::Torch(format!(
            "a gradient is like its parameter: expected {}, found {}",
            describe(parameter),
            describe(gradient)
        )));
    }
    call!(cloze_set_grad(parameter.as_ptr(), gradient.as_ptr()))
}

/// Sets the number of threads that operations called from this thread share, for good: unlike that of `tch::set_num_threads`, which
/// torch may set back to the process's number when the thread computes for the first time. It is the process's number as well, for
/// threads that are yet to come, until another is set.
///
/// # Errors
/// When it is not positive.
pub fn set_num_threads(count: i32) -> Result<()> {
    call!(cloze_set_num_threads(count))
}

/// How many threads the kernels of [`fused`] run on when they are called from this thread.
pub fn kernel_threads() -> i64 {
    // SAFETY: the shim runs an empty loop.
    unsafe { ffi::cloze_kernel_threads() }
}

/// Fills `target`, on the CPU, with normal values of mean 0 from a generator of its own, seeded with `seed`; torch's global one is
/// not touched.
///
/// # Errors
/// When `target` is not a floating-point tensor on the CPU.
pub fn fill_normal(target: &mut Tensor, deviation: f64, seed: u32) -> Result<()> {
    call!(cloze_fill_normal(target.as_mut_ptr(), deviation, u64::from(seed)))
}

/// Lets matrix products on CUDA round their fp32 inputs to TF32 (10 bits of mantissa), or not. No effect on a CPU.
pub fn allow_tf32(allow: bool) -> Result<()> {
    call!(cloze_allow_tf32(c_int::from(allow)))
}

/// Has torch use only operators that give the same bits each time, where it knows slower ones that do; those that have none are
/// errors from here on. Matters on CUDA; call it before the first matrix product there.
pub fn set_deterministic(deterministic: bool) -> Result<()> {
    call!(cloze_set_deterministic(c_int::from(deterministic)))
}

/// `target += alpha * other`, in place and without a temporary.
///
/// # Errors
/// When shapes, kinds or devices do not go together.
pub fn add_scaled(target: &mut Tensor, other: &Tensor, alpha: f64) -> Result<()> {
    call!(cloze_add_scaled_(target.as_mut_ptr(), other.as_ptr(), alpha))
}

/// `target += value * a * b` element by element, in place and without a temporary.
///
/// # Errors
/// When shapes, kinds or devices do not go together.
pub fn add_product(target: &mut Tensor, a: &Tensor, b: &Tensor, value: f64) -> Result<()> {
    call!(cloze_add_product_(target.as_mut_ptr(), a.as_ptr(), b.as_ptr(), value))
}

/// The constants of one AdamW update.
#[derive(Clone, Copy, Debug)]
pub struct AdamWUpdate {
    /// Number of this update, from 1: it decides the bias correction.
    pub step: u64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Decay rates of the first and second moment.
    pub betas: (f64, f64),
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Added to the denominator.
    pub epsilon: f64,
}

/// One AdamW update of `parameter` and its moments, in place and in one pass over the memory.
///
/// Source: torch's `_fused_adamw_`.
///
/// # Errors
/// When shapes, kinds or devices do not go together.
pub fn fused_adamw(
    parameter: &mut Tensor,
    gradient: &Tensor,
    first_moment: &mut Tensor,
    second_moment: &mut Tensor,
    update: AdamWUpdate,
) -> Result<()> {
    call!(cloze_fused_adamw_(
        parameter.as_mut_ptr(),
        gradient.as_ptr(),
        first_moment.as_mut_ptr(),
        second_moment.as_mut_ptr(),
        update.step as f64,
        update.learning_rate,
        update.betas.0,
        update.betas.1,
        update.weight_decay,
        update.epsilon
    ))
}

fn check(code: c_int, error: *mut c_char) -> Result<()> {
    if code == 0 {
        return Ok(());
    }
    let message = take_string(error);
    Err(Error::Torch(message.lines().next().unwrap_or("no message").to_owned()))
}

/// Takes over a tensor that a function of the shim made, having succeeded.
fn take_tensor(tensor: *mut C_tensor) -> Tensor {
    // SAFETY: on success the shim hands over a heap-allocated at::Tensor that nobody else owns.
    unsafe { Tensor::from_ptr(tensor) }
}

/// Takes over a string that the shim made with `strdup`; null is the empty string.
fn take_string(string: *mut c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: not null, so it is a C string made by strdup in the shim, which keeps no other pointer to it.
    let owned = unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned();
    // SAFETY: made by strdup, hence by malloc; `owned` is a copy, and nothing reads `string` after this.
    unsafe { libc::free(string.cast()) };
    owned
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use tch::{Device, Kind};

    pub(crate) const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

    /// Tests that draw from torch's one CPU generator take turns.
    pub(crate) fn with_generator(test: impl FnOnce()) {
        static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _turn = TURN.lock();
        tch::manual_seed(20);
        fused::seed_dropout(20);
        test();
    }

    #[test]
    fn kernels_run_on_as_many_threads_as_torch_has() {
        for count in [3, 1, 2] {
            std::thread::spawn(move || {
                set_num_threads(count).unwrap();
                assert_eq!((kernel_threads(), tch::get_num_threads()), (count.into(), count));
            })
            .join()
            .unwrap();
        }
        assert!(set_num_threads(0).is_err());
    }

    #[test]
    fn backward_accumulates_into_a_preset_gradient() {
        let flat = Tensor::zeros([4], FLOAT);
        let parameter = Tensor::from_slice(&[2f32, 3.0]).set_requires_grad(true);
        set_grad(&parameter, &flat.narrow(0, 1, 2)).unwrap();
        for _ in 0..2 {
            (&parameter * &parameter).sum(Kind::Float).backward();
        }
        assert_eq!(Vec::<f32>::try_from(&flat).unwrap(), [0.0, 8.0, 12.0, 0.0]);
        assert!(set_grad(&parameter, &flat).is_err());
    }

    #[test]
    fn the_folder_of_libtorch_is_found_and_cuda_is_not_invented() {
        assert!(load::libtorch_dir().unwrap().join("libtorch_cpu.so").exists());
        if load::cuda() == load::Cuda::NoDriver {
            assert!(!has_cuda());
        }
        assert!(!cpu_capability().unwrap().is_empty());
        assert!(load::libtorch_version().unwrap().starts_with("2."));
        if !has_cuda() {
            assert_eq!(gpu(0), None);
        }
    }
}
