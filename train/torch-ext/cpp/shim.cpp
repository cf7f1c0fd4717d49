// What tch lacks, over the same libtorch. Plain C functions.
#include "common.h"
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/Version.h>
#include <torch/version.h>
#include <c10/core/GradMode.h>

extern "C" {
// Where this very library was loaded from is asked of dladdr with a symbol that lives in libtorch_cpu.
const void* cloze_symbol_of_libtorch_cpu() { return reinterpret_cast<const void*>(&at::globalContext); }

int cloze_has_cuda(int* has_cuda, char** error) { TRY(error, *has_cuda = at::globalContext().hasCUDA()) }

const char* cloze_torch_version() { return TORCH_VERSION; }

int cloze_cpu_capability(char** capability, char** error) {
  TRY(error, *capability = strdup(at::get_cpu_capability().c_str()))
}

// Of this thread. Torch sets a thread's number to the process's when the thread first asks for it, and remembers that it did in each
// library by itself: so ask first, here and there.
int cloze_set_num_threads(int count, char** error) {
  TRY(error, {
    at::internal::lazy_init_num_threads();
    at::get_num_threads();
    at::set_num_threads(count);
  })
}

int64_t cloze_kernel_threads() {
  std::atomic<int64_t> count{0};
  at::parallel_for(0, 1024, 1, [&](int64_t, int64_t) { count++; });
  return count;
}

// Makes `gradient` the .grad of the leaf `parameter`; backward accumulates into it in place.
int cloze_set_grad(at::Tensor* parameter, at::Tensor* gradient, char** error) {
  TRY(error, parameter->mutable_grad() = *gradient)
}

// Fills a CPU tensor from a generator of its own.
int cloze_fill_normal(at::Tensor* target, double deviation, uint64_t seed, char** error) {
  TRY(error, {
    c10::NoGradGuard no_grad;
    target->normal_(0.0, deviation, at::make_generator<at::CPUGeneratorImpl>(seed));
  })
}

int cloze_allow_tf32(int allow, char** error) {
  TRY(error, {
    at::globalContext().setAllowTF32CuBLAS(allow != 0);
    at::globalContext().setAllowTF32CuDNN(allow != 0);
  })
}

int cloze_set_deterministic(int deterministic, char** error) {
  TRY(error, {
    // cuBLAS reads it with its first product; without, torch refuses products that are to be deterministic.
    if (deterministic != 0) setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
    at::globalContext().setDeterministicFillUninitializedMemory(false);
    // Not "warn only": attention's kernels take that for leave to be as they like.
    at::globalContext().setDeterministicAlgorithms(deterministic != 0, /*warn_only=*/false);
  })
}

// target += alpha * other
int cloze_add_scaled_(at::Tensor* target, at::Tensor* other, double alpha, char** error) {
  TRY(error, {
    c10::NoGradGuard no_grad;
    target->add_(*other, alpha);
  })
}

// target += value * a * b
int cloze_add_product_(at::Tensor* target, at::Tensor* a, at::Tensor* b, double value, char** error) {
  TRY(error, {
    c10::NoGradGuard no_grad;
    target->addcmul_(*a, *b, value);
  })
}

// One AdamW update in one pass over the memory; `step` is the number of this update, from 1.
int cloze_fused_adamw_(at::Tensor* parameter, at::Tensor* gradient, at::Tensor* first, at::Tensor* second, double step,
                       double learning_rate, double beta1, double beta2, double weight_decay, double epsilon, char** error) {
  TRY(error, {
    c10::NoGradGuard no_grad;
    auto steps = at::full({}, step, parameter->options());
    at::_fused_adamw_({*parameter}, {*gradient}, {*first}, {*second}, /*max_exp_avg_sqs=*/{}, {steps}, learning_rate, beta1,
                      beta2, weight_decay, epsilon, /*amsgrad=*/false, /*maximize=*/false);
  })
}
}
