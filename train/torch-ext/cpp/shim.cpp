// What tch lacks, over the same libtorch.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <mutex>

#include "try.h"

// device: -1 is the CPU, otherwise the CUDA device of that number.
static at::Generator generator(int device) {
  return device < 0 ? at::detail::getDefaultCPUGenerator()
                    : at::globalContext().defaultGenerator(at::Device(at::kCUDA, device));
}

// ---- Dropout on the CPU. torch's draws its mask with a serial generator and keeps it; this one hashes (seed, index), so that
// the mask costs next to nothing, is the same for any number of threads, and is made again in backward instead of kept.

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CLOZE_VECTORIZED __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3")))
#else
#define CLOZE_VECTORIZED
#endif

// Elements `first .. first + len` of the tensor; the hash is MurmurHash3's finalizer with half of the seed at either end.
CLOZE_VECTORIZED static void drop(const float* in, float* out, uint32_t first, int32_t len, uint64_t seed, uint32_t threshold,
                                  float scale) {
  const uint32_t low = static_cast<uint32_t>(seed), high = static_cast<uint32_t>(seed >> 32);
  for (int32_t i = 0; i < len; i++) {
    uint32_t h = (first + static_cast<uint32_t>(i)) * 0x9e3779b1u ^ low;
    h = (h ^ (h >> 16)) * 0x85ebca6bu + high;
    h = (h ^ (h >> 13)) * 0xc2b2ae35u;
    h ^= h >> 16;
    out[i] = h < threshold ? 0.0f : in[i] * scale;
  }
}

static at::Tensor drop_all(const at::Tensor& x, double probability, int64_t seed) {
  auto in = x.contiguous();
  auto out = at::empty_like(in);
  const float* from = in.const_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
  const auto threshold = static_cast<uint32_t>(probability * 4294967296.0);
  const auto scale = static_cast<float>(1.0 / (1.0 - probability));
  at::parallel_for(0, in.numel(), 1 << 15, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; at += 1 << 20) {
      const auto len = static_cast<int32_t>(std::min<int64_t>(end - at, 1 << 20));
      drop(from + at, to + at, static_cast<uint32_t>(at), len, static_cast<uint64_t>(seed), threshold, scale);
    }
  });
  return out;
}

struct CpuDropout : torch::autograd::Function<CpuDropout> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, double probability, int64_t seed) {
    at::AutoDispatchBelowADInplaceOrView below_autograd;
    context->saved_data["probability"] = probability;
    context->saved_data["seed"] = seed;
    return drop_all(x, probability, seed);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    auto gradient =
        drop_all(gradients[0], context->saved_data["probability"].toDouble(), context->saved_data["seed"].toInt());
    return {gradient, at::Tensor(), at::Tensor()};
  }
};

extern "C" {
// Where this very library was loaded from is asked of dladdr with a symbol that lives in libtorch_cpu.
const void* cloze_symbol_of_libtorch_cpu() { return reinterpret_cast<const void*>(&at::globalContext); }

int cloze_has_cuda(int* has_cuda, char** error) { TRY(error, *has_cuda = at::globalContext().hasCUDA()) }

int cloze_cpu_capability(char** capability, char** error) {
  TRY(error, *capability = strdup(at::get_cpu_capability().c_str()))
}

// Makes `gradient` the .grad of the leaf `parameter`; backward accumulates into it in place.
int cloze_set_grad(at::Tensor* parameter, at::Tensor* gradient, char** error) {
  TRY(error, parameter->mutable_grad() = *gradient)
}

int cloze_rng_state(int device, at::Tensor** state, char** error) {
  TRY(error, {
    auto g = generator(device);
    std::lock_guard<std::mutex> lock(g.mutex());
    *state = new at::Tensor(g.get_state());
  })
}

int cloze_set_rng_state(int device, at::Tensor* state, char** error) {
  TRY(error, {
    auto g = generator(device);
    std::lock_guard<std::mutex> lock(g.mutex());
    g.set_state(*state);
  })
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

// Zeroes each element of a float CPU tensor with `probability`, scales the rest; one draw from the CPU generator is the seed.
int cloze_cpu_dropout(at::Tensor* x, double probability, at::Tensor** out, char** error) {
  TRY(error, {
    TORCH_CHECK(x->device().is_cpu() && x->scalar_type() == at::kFloat, "expected a float tensor on the CPU");
    TORCH_CHECK(probability >= 0 && probability < 1, "expected a probability of at least 0 and less than 1");
    auto g = at::detail::getDefaultCPUGenerator();
    uint64_t seed;
    {
      std::lock_guard<std::mutex> lock(g.mutex());
      seed = at::check_generator<at::CPUGeneratorImpl>(g)->random64();
    }
    *out = new at::Tensor(CpuDropout::apply(*x, probability, static_cast<int64_t>(seed)));
  })
}
}
