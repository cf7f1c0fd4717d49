//! Mixed precision.

use std::marker::PhantomData;

use libc::c_int;
use tch::Device;

use crate::{Error, Result};

/// The 16-bit types that matrix products can run in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfPrecision {
    /// 8 bits of exponent, as fp32 has, and 7 of mantissa.
    Bf16,
    /// 5 bits of exponent and 10 of mantissa: gradients need loss scaling.
    Fp16,
}

/// While it lives, torch on this thread casts the inputs of matrix products to 16 bits, and of what needs the range to fp32, each
/// parameter once. Tensors keep their own kind, and so do gradients of leaves.
///
/// Keep it around a forward pass, not around backward, which follows the kinds that forward used. Guards nest.
#[derive(Debug)]
#[must_use = "autocast ends when the guard is dropped"]
pub struct Autocast {
    cuda: c_int,
    was_enabled: c_int,
    was_dtype: c_int,
    /// The switch belongs to the thread.
    _not_send: PhantomData<*const ()>,
}

impl Autocast {
    /// Turns autocast on for tensors on `device`.
    ///
    /// # Errors
    /// A device that is neither a CPU nor CUDA.
    pub fn enter(device: Device, precision: HalfPrecision) -> Result<Self> {
        let cuda = match device {
            Device::Cpu => 0,
            Device::Cuda(_) => 1,
            _ => return Err(Error::Device(device)),
        };
        let (mut was_enabled, mut was_dtype) = (0, 0);
        let half = c_int::from(precision == HalfPrecision::Fp16);
        call!(cloze_autocast_enter(cuda, half, &mut was_enabled, &mut was_dtype))?;
        Ok(Self { cuda, was_enabled, was_dtype, _not_send: PhantomData })
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        // Setting what was set before cannot fail.
        let _ = call!(cloze_autocast_exit(self.cuda, self.was_enabled, self.was_dtype));
    }
}

/// Whether the current CUDA device multiplies bf16 in hardware; false without CUDA.
pub fn cuda_has_bf16() -> bool {
    let mut has_bf16 = 0;
    call!(cloze_cuda_has_bf16(&mut has_bf16)).is_ok() && has_bf16 != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Kind, Tensor};

    #[test]
    fn matrix_products_run_in_16_bits_while_the_guard_lives_and_gradients_stay_fp32() {
        let a = Tensor::ones([4, 4], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        for (precision, kind) in [(HalfPrecision::Bf16, Kind::BFloat16), (HalfPrecision::Fp16, Kind::Half)] {
            let product = {
                let _guard = Autocast::enter(Device::Cpu, precision).unwrap();
                a.matmul(&a)
            };
            assert_eq!(product.kind(), kind);
            assert_eq!(a.matmul(&a).kind(), Kind::Float);
            product.to_kind(Kind::Float).sum(Kind::Float).backward();
            assert_eq!(a.grad().kind(), Kind::Float);
        }
        assert_eq!(a.grad().double_value(&[0, 0]), 16.0);
    }

    #[test]
    fn guards_nest() {
        let a = Tensor::ones([2, 2], (Kind::Float, Device::Cpu));
        let outer = Autocast::enter(Device::Cpu, HalfPrecision::Bf16).unwrap();
        drop(Autocast::enter(Device::Cpu, HalfPrecision::Fp16).unwrap());
        assert_eq!(a.matmul(&a).kind(), Kind::BFloat16);
        drop(outer);
        assert_eq!(a.matmul(&a).kind(), Kind::Float);
    }
}
