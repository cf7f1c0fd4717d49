// NCCL as a c10d backend: a library of its own, opened only where there is a GPU, because it needs libtorch_cuda to load.
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include <cstdlib>
#include <string>

#include "../cpp/distributed.h"
#include "../cpp/try.h"

extern "C" {
// Collectives between CUDA devices; this process's is `device`. The type is that of cloze_backend_gloo.
int cloze_backend_nccl(StoreRef* store, int rank, int world_size, int device, int64_t timeout_ms, BackendRef** out, char** error) {
  TRY(error, {
    // When a peer is gone, c10d's watchdog ends the communicator and leaves the process alone: it has a checkpoint to save.
    setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", std::to_string(c10d::CleanUpOnly).c_str(), 0);
    auto options = c10d::ProcessGroupNCCL::Options::create();
    options->timeout = std::chrono::milliseconds(timeout_ms);
    auto group = c10::make_intrusive<c10d::ProcessGroupNCCL>(*store, rank, world_size, options);
    group->setBoundDeviceId(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device)));
    *out = new BackendRef(std::move(group));
  })
}
}
