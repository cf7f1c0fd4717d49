//! The shim's functions as the files in `cpp/` define them.

use libc::{c_char, c_int, c_void};
use torch_sys::C_tensor;

unsafe extern "C" {
    pub fn cloze_symbol_of_libtorch_cpu() -> *const c_void;
    pub fn cloze_has_cuda(has_cuda: *mut c_int, error: *mut *mut c_char) -> c_int;
    pub fn cloze_cpu_capability(capability: *mut *mut c_char, error: *mut *mut c_char) -> c_int;
    pub fn cloze_set_grad(parameter: *const C_tensor, gradient: *const C_tensor, error: *mut *mut c_char) -> c_int;
    pub fn cloze_rng_state(device: c_int, state: *mut *mut C_tensor, error: *mut *mut c_char) -> c_int;
    pub fn cloze_set_rng_state(device: c_int, state: *const C_tensor, error: *mut *mut c_char) -> c_int;
    pub fn cloze_fill_normal(target: *mut C_tensor, deviation: f64, seed: u64, error: *mut *mut c_char) -> c_int;
    pub fn cloze_cpu_dropout(
        x: *const C_tensor,
        probability: f64,
        out: *mut *mut C_tensor,
        error: *mut *mut c_char,
    ) -> c_int;
    pub fn cloze_autocast_enter(
        cuda: c_int,
        half: c_int,
        was_enabled: *mut c_int,
        was_dtype: *mut c_int,
        error: *mut *mut c_char,
    ) -> c_int;
    pub fn cloze_autocast_exit(cuda: c_int, was_enabled: c_int, was_dtype: c_int, error: *mut *mut c_char) -> c_int;
    pub fn cloze_cuda_has_bf16(has_bf16: *mut c_int, error: *mut *mut c_char) -> c_int;
    pub fn cloze_allow_tf32(allow: c_int, error: *mut *mut c_char) -> c_int;
    pub fn cloze_add_scaled_(
        target: *mut C_tensor,
        other: *const C_tensor,
        alpha: f64,
        error: *mut *mut c_char,
    ) -> c_int;
    pub fn cloze_add_product_(
        target: *mut C_tensor,
        a: *const C_tensor,
        b: *const C_tensor,
        value: f64,
        error: *mut *mut c_char,
    ) -> c_int;
    pub fn cloze_fused_adamw_(
        parameter: *mut C_tensor,
        gradient: *const C_tensor,
        first: *mut C_tensor,
        second: *mut C_tensor,
        step: f64,
        learning_rate: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        epsilon: f64,
        error: *mut *mut c_char,
    ) -> c_int;
}
