// Mixed precision: matrix products run in a 16-bit type, and what needs the range stays in fp32.
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include "common.h"

namespace autocast = at::autocast;

extern "C" {
// half: 0 is bfloat16, 1 is float16. What was set before is given back, for cloze_autocast_exit.
int cloze_autocast_enter(int cuda, int half, int* was_enabled, int* was_dtype, char** error) {
  TRY(error, {
    const auto device = cuda ? at::kCUDA : at::kCPU;
    *was_enabled = autocast::is_autocast_enabled(device);
    *was_dtype = static_cast<int>(autocast::get_autocast_dtype(device));
    autocast::set_autocast_enabled(device, true);
    autocast::set_autocast_dtype(device, half ? at::kHalf : at::kBFloat16);
    autocast::set_autocast_cache_enabled(true);
    autocast::increment_nesting();
  })
}

// The outermost exit drops the 16-bit copies of parameters: an optimizer may change the parameters next.
int cloze_autocast_exit(int cuda, int was_enabled, int was_dtype, char** error) {
  TRY(error, {
    const auto device = cuda ? at::kCUDA : at::kCPU;
    if (autocast::decrement_nesting() == 0) autocast::clear_cache();
    autocast::set_autocast_enabled(device, was_enabled != 0);
    autocast::set_autocast_dtype(device, static_cast<at::ScalarType>(was_dtype));
  })
}

// Whether the current CUDA device multiplies bfloat16 in hardware (compute capability 8.0). torch's hook for convolutions asks
// just that, besides for cuDNN, without which torch's wheels do not come.
int cloze_cuda_has_bf16(int* has_bf16, char** error) {
  TRY(error, {
    *has_bf16 = at::globalContext().hasCUDA() && at::detail::getCUDAHooks().supportsBFloat16ConvolutionWithCuDNNv8();
  })
}
}
