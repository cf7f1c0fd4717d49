//! The shim's functions as the files in `cpp/` declare them.

use libc::{c_char, c_int, c_void};
use torch_sys::C_tensor;

/// `StoreRef` of distributed.h.
#[repr(C)]
pub struct Store {
    _opaque: [u8; 0],
}

/// `InterfaceRef` of distributed.cpp.
#[repr(C)]
pub struct Interface {
    _opaque: [u8; 0],
}

/// `BackendRef` of distributed.h.
#[repr(C)]
pub struct Backend {
    _opaque: [u8; 0],
}

/// `ReducerRef` of distributed.cpp.
#[repr(C)]
pub struct Reducer {
    _opaque: [u8; 0],
}

/// `cloze_backend_nccl` of cuda/nccl.cpp, which is looked up at run time.
pub type MakeNccl = unsafe extern "C" fn(
    store: *mut Store,
    rank: c_int,
    world_size: c_int,
    device: c_int,
    timeout_ms: i64,
    out: *mut *mut Backend,
    error: *mut *mut c_char,
) -> c_int;

// SAFETY: names and types are those of the definitions in `cpp/`, which build.rs compiles into this crate.
unsafe extern "C" {
    pub fn cloze_symbol_of_libtorch_cpu() -> *const c_void;
    pub fn cloze_torch_version() -> *const c_char;
    pub fn cloze_has_cuda(has_cuda: *mut c_int, error: *mut *mut c_char) -> c_int;
    pub fn cloze_cpu_capability(capability: *mut *mut c_char, error: *mut *mut c_char) -> c_int;
    pub fn cloze_set_num_threads(count: c_int, error: *mut *mut c_char) -> c_int;
    pub fn cloze_kernel_threads() -> i64;
    pub fn cloze_set_grad(parameter: *const C_tensor, gradient: *const C_tensor, error: *mut *mut c_char) -> c_int;
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
    pub fn cloze_set_deterministic(deterministic: c_int, error: *mut *mut c_char) -> c_int;
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
    pub fn cloze_store_open(
        host: *const c_char,
        port: u16,
        is_server: c_int,
        prefix: *const c_char,
        timeout_ms: i64,
        out: *mut *mut Store,
        error: *mut *mut c_char,
    ) -> c_int;
    pub fn cloze_store_add(
        store: *mut Store,
        key: *const c_char,
        by: i64,
        sum: *mut i64,
        error: *mut *mut c_char,
    ) -> c_int;
    pub fn cloze_store_set(
        store: *mut Store,
        key: *const c_char,
        text: *const c_char,
        error: *mut *mut c_char,
    ) -> c_int;
    pub fn cloze_store_get(
        store: *mut Store,
        key: *const c_char,
        text: *mut *mut c_char,
        error: *mut *mut c_char,
    ) -> c_int;
    pub fn cloze_store_free(store: *mut Store);
    pub fn cloze_interface_open(
        name: *const c_char,
        is_name: c_int,
        out: *mut *mut Interface,
        error: *mut *mut c_char,
    ) -> c_int;
    pub fn cloze_interface_free(interface: *mut Interface);
    pub fn cloze_backend_gloo(
        store: *mut Store,
        interface: *mut Interface,
        rank: c_int,
        world_size: c_int,
        connect_ms: i64,
        timeout_ms: i64,
        host_ms: i64,
        out: *mut *mut Backend,
        error: *mut *mut c_char,
    ) -> c_int;
    pub fn cloze_backend_free(backend: *mut Backend);
    pub fn cloze_all_reduce(
        backend: *mut Backend,
        tensor: *const C_tensor,
        maximum: c_int,
        error: *mut *mut c_char,
    ) -> c_int;
    pub fn cloze_broadcast(
        backend: *mut Backend,
        tensor: *const C_tensor,
        root: c_int,
        error: *mut *mut c_char,
    ) -> c_int;
    pub fn cloze_reducer_new(
        backend: *mut Backend,
        leaves: *const *const C_tensor,
        bucket_of: *const usize,
        num_leaves: usize,
        buckets: *const *const C_tensor,
        num_buckets: usize,
        out: *mut *mut Reducer,
        error: *mut *mut c_char,
    ) -> c_int;
    pub fn cloze_reducer_arm(reducer: *mut Reducer, error: *mut *mut c_char) -> c_int;
    pub fn cloze_reducer_finish(reducer: *mut Reducer, error: *mut *mut c_char) -> c_int;
    pub fn cloze_reducer_wait(reducer: *mut Reducer, timeout_ms: i64, error: *mut *mut c_char) -> c_int;
    pub fn cloze_reducer_abort(reducer: *mut Reducer, error: *mut *mut c_char) -> c_int;
    pub fn cloze_reducer_free(reducer: *mut Reducer);
    pub fn cloze_is_fusable(x: *const C_tensor) -> c_int;
    pub fn cloze_seed_dropout(seed: u64);
    pub fn cloze_attention(
        queries: *const C_tensor,
        keys: *const C_tensor,
        query_bounds: *const C_tensor,
        bounds: *const C_tensor,
        num_heads: i64,
        most_queries: i64,
        longest: i64,
        probability: f64,
        out: *mut *mut C_tensor,
        error: *mut *mut c_char,
    ) -> c_int;
    pub fn cloze_linear_gelu(
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        by_tanh: c_int,
        out: *mut *mut C_tensor,
        error: *mut *mut c_char,
    ) -> c_int;
    pub fn cloze_linear_add_norm(
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        residual: *const C_tensor,
        norm_weight: *const C_tensor,
        norm_bias: *const C_tensor,
        epsilon: f64,
        probability: f64,
        out: *mut *mut C_tensor,
        error: *mut *mut c_char,
    ) -> c_int;
    pub fn cloze_embedding_sum(
        word: *const C_tensor,
        position: *const C_tensor,
        segment: *const C_tensor,
        word_ids: *const C_tensor,
        position_ids: *const C_tensor,
        segment_ids: *const C_tensor,
        out: *mut *mut C_tensor,
        error: *mut *mut c_char,
    ) -> c_int;
    pub fn cloze_linear_cross_entropy(
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        labels: *const C_tensor,
        loss: *mut *mut C_tensor,
        correct: *mut *mut C_tensor,
        error: *mut *mut c_char,
    ) -> c_int;
    pub fn cloze_fused_lamb_(
        parameter: *mut C_tensor,
        gradient: *mut C_tensor,
        first: *mut C_tensor,
        second: *mut C_tensor,
        num_parameters: i64,
        offsets: *const i64,
        lens: *const i64,
        decayed_len: i64,
        number: f64,
        learning_rate: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        epsilon: f64,
        scale: f64,
        error: *mut *mut c_char,
    ) -> c_int;
}
