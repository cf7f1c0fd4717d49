// LAMB on the CPU in two passes over flat buffers.
#include "common.h"
#include <cmath>
#include <vector>

namespace cloze {
namespace {

// keep1 and keep2 are 1 - beta1 and 1 - beta2, subtracted in double: in float, 1 - 0.999 is off by 5e-5 of itself.
struct Constants {
  float beta1, beta2, keep1, keep2, epsilon, scale, per_correction1, per_correction2_root;
};

// Moments, then Adam's direction (with decay * p) over the gradient; sums[0] and [1] become the squared norms of p and of it.
CLOZE_VECTORIZED void direction(const float* p, float* g, float* m, float* v, int64_t len, float decay, const Constants& c,
                                double* sums) {
  f32v of_p = {}, of_u = {};
  for (int64_t i = 0; i < len; i += LANES) {
    const int64_t some = std::min(LANES, len - i);
    const bool whole = some == LANES;
    const f32v gradient = (whole ? load(g + i) : load_some(g + i, some, 0)) * c.scale;
    const f32v parameter = whole ? load(p + i) : load_some(p + i, some, 0);
    const f32v first = (whole ? load(m + i) : load_some(m + i, some, 0)) * c.beta1 + gradient * c.keep1;
    const f32v second = (whole ? load(v + i) : load_some(v + i, some, 0)) * c.beta2 + gradient * gradient * c.keep2;
    f32v root;
    for (int lane = 0; lane < LANES; lane++) root[lane] = __builtin_sqrtf(second[lane]);
    // (m / c1) / (sqrt(v / c2) + e)
    const f32v u = first * c.per_correction1 / (root * c.per_correction2_root + c.epsilon) + parameter * decay;
    of_p += parameter * parameter;
    of_u += u * u;
    if (whole) {
      store(m + i, first), store(v + i, second), store(g + i, u);
    } else {
      store_some(m + i, first, some), store_some(v + i, second, some), store_some(g + i, u, some);
    }
  }
  sums[0] = sum(of_p);
  sums[1] = sum(of_u);
}

CLOZE_VECTORIZED void apply(float* p, const float* u, int64_t len, float factor) {
  for (int64_t i = 0; i < len; i++) p[i] -= factor * u[i];
}

// A stretch of one parameter. Sums of squares are taken within stretches and then over them, so they do not depend on threads.
constexpr int64_t STRETCH = 4096;
struct Stretch {
  int64_t parameter, begin, len;
};

void step(float* p, float* g, float* m, float* v, int64_t num_parameters, const int64_t* offsets, const int64_t* lens,
          int64_t decayed_len, float decay, double learning_rate, const Constants& constants) {
  std::vector<Stretch> stretches;
  for (int64_t i = 0; i < num_parameters; i++)
    for (int64_t at = 0; at < lens[i]; at += STRETCH)
      stretches.push_back({i, offsets[i] + at, std::min(STRETCH, lens[i] - at)});
  std::vector<double> sums(2 * stretches.size());
  const auto count = static_cast<int64_t>(stretches.size());
  constexpr int64_t AT_ONCE = 16;
  const auto over_all = [&](auto body) {
    for_each((count + AT_ONCE - 1) / AT_ONCE, [&](int64_t group) {
      for (int64_t i = group * AT_ONCE; i < std::min(count, (group + 1) * AT_ONCE); i++) body(i, stretches[i]);
    });
  };
  over_all([&](int64_t i, const Stretch& s) {
    direction(p + s.begin, g + s.begin, m + s.begin, v + s.begin, s.len, s.begin < decayed_len ? decay : 0, constants, &sums[2 * i]);
  });
  // Trust ratio |p| / |u| of decayed parameters, 1 where either is 0 and for the others.
  std::vector<double> squares(2 * static_cast<size_t>(num_parameters));
  for (int64_t i = 0; i < count; i++)
    for (int k : {0, 1}) squares[2 * stretches[i].parameter + k] += sums[2 * i + k];
  std::vector<float> factors(static_cast<size_t>(num_parameters));
  for (int64_t i = 0; i < num_parameters; i++) {
    const double of_p = squares[2 * i], of_u = squares[2 * i + 1];
    const bool is_trusted = offsets[i] < decayed_len && of_p > 0 && of_u > 0;
    factors[i] = static_cast<float>(learning_rate * (is_trusted ? std::sqrt(of_p / of_u) : 1.0));
  }
  over_all([&](int64_t, const Stretch& s) { apply(p + s.begin, g + s.begin, s.len, factors[s.parameter]); });
}

}  // namespace
}  // namespace cloze

extern "C" {
// Flat f32 buffers on the CPU. Parameter i is offsets[i] .. offsets[i] + lens[i]; below decayed_len weight decay and trust ratio
// apply. `number` of this update, from 1. The gradient is multiplied by `scale` first, and is the direction afterwards.
int cloze_fused_lamb_(at::Tensor* parameter, at::Tensor* gradient, at::Tensor* first, at::Tensor* second, int64_t num_parameters,
                      const int64_t* offsets, const int64_t* lens, int64_t decayed_len, double number, double learning_rate,
                      double beta1, double beta2, double weight_decay, double epsilon, double scale, char** error) {
  TRY(error, {
    const int64_t len = parameter->numel();
    for (const at::Tensor* t : {parameter, gradient, first, second})
      TORCH_CHECK(t->is_cpu() && t->scalar_type() == at::kFloat && t->is_contiguous() && t->numel() == len,
                  "expected four contiguous float tensors of one length on the CPU");
    for (int64_t i = 0; i < num_parameters; i++)
      TORCH_CHECK(offsets[i] >= 0 && lens[i] >= 0 && offsets[i] <= len - lens[i], "expected parameters inside the buffer");
    const cloze::Constants constants = {
        static_cast<float>(beta1), static_cast<float>(beta2), static_cast<float>(1 - beta1), static_cast<float>(1 - beta2),
        static_cast<float>(epsilon), static_cast<float>(scale),
        static_cast<float>(1 / (1 - std::pow(beta1, number))), static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, number)))};
    cloze::step(parameter->data_ptr<float>(), gradient->data_ptr<float>(), first->data_ptr<float>(), second->data_ptr<float>(),
                num_parameters, offsets, lens, decayed_len, static_cast<float>(weight_decay), learning_rate, constants);
  })
}
}
