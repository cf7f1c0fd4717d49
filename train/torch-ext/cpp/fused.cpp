// Layers of BERT on the CPU in f32, each forward and each backward in as few passes over memory as it takes; a matrix product
// is followed by one pass for all that comes after it. Differentiable once: backward may overwrite what forward kept.
// T rows, H hidden, F feed-forward width, V vocabulary, M masked positions.
#include "layers.h"
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <cmath>
#include <vector>

namespace cloze {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// ---- Dropout.

CLOZE_VECTORIZED void drop(const float* in, float* out, int64_t begin, int64_t end, const Dropout& dropout) {
  int64_t i = begin;
  for (; i + LANES <= end; i += LANES) store(out + i, load(in + i) * dropout_factor(dropout, static_cast<uint32_t>(i)));
  if (i < end) {
    const f32v x = load_some(in + i, end - i, 0);
    store_some(out + i, x * dropout_factor(dropout, static_cast<uint32_t>(i)), end - i);
  }
}

at::Tensor drop_all(const at::Tensor& x, const Dropout& dropout) {
  auto in = x.contiguous();
  auto out = at::empty_like(in);
  const float* from = in.const_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
  constexpr int64_t BLOCK = 1 << 15;
  const int64_t len = in.numel();
  for_each((len + BLOCK - 1) / BLOCK,
           [&](int64_t block) { drop(from, to, block * BLOCK, std::min(len, (block + 1) * BLOCK), dropout); });
  return out;
}

struct CpuDropout : torch::autograd::Function<CpuDropout> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, double probability, int64_t seed) {
    at::AutoDispatchBelowADInplaceOrView below_autograd;
    context->saved_data["probability"] = probability;
    context->saved_data["seed"] = seed;
    return drop_all(x, Dropout(probability, seed));
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const Dropout dropout(context->saved_data["probability"].toDouble(), context->saved_data["seed"].toInt());
    return {drop_all(gradients[0], dropout), at::Tensor(), at::Tensor()};
  }
};

// ---- Sums over rows, [num_blocks, width] partial sums to [width].

at::Tensor joined(const at::Tensor& partial) { return at::sum(partial, 0); }

// ---- Dense, bias, GELU.

// GELU and its derivative. By the error function: erf as in Abramowitz and Stegun 7.1.26 (error below 1.5e-7, as torch's), whose
// exponential is also the normal density's. By tanh: x * sigmoid(2 u).
struct Gelu {
  f32v value, slope;
};

CLOZE_INLINE Gelu gelu(f32v x, bool by_tanh) {
  if (by_tanh) {
    const float a = 0.7978845608028654f, b = 0.044715f;
    const f32v s = 1.0f / (1.0f + exp((x + b * x * x * x) * (-2.0f * a)));
    const f32v inner = (1.0f + 3.0f * b * x * x) * (2.0f * a);
    return {x * s, s + x * s * (1.0f - s) * inner};
  }
  const f32v z = max(x, -x) * 0.7071067811865476f;
  const f32v t = 1.0f / (1.0f + 0.3275911f * z);
  const f32v bell = exp(-z * z);
  const f32v poly = t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
  const f32v tail = 0.5f * poly * bell;  // 1 - Phi(|x|)
  const f32v phi = x < 0.0f ? tail : 1.0f - tail;
  return {x * phi, phi + x * bell * 0.3989422804014327f};
}

CLOZE_VECTORIZED void bias_gelu(const float* in, const float* bias, float* out, int64_t rows, int64_t width, bool by_tanh) {
  for (int64_t row = 0; row < rows; row++) {
    const float* x = in + row * width;
    float* y = out + row * width;
    int64_t i = 0;
    for (; i + LANES <= width; i += LANES) store(y + i, gelu(load(x + i) + load(bias + i), by_tanh).value);
    if (i < width) {
      const int64_t len = width - i;
      store_some(y + i, gelu(load_some(x + i, len, 0) + load_some(bias + i, len, 0), by_tanh).value, len);
    }
  }
}

// Overwrites `in` with its gradient and adds that of the bias.
CLOZE_VECTORIZED void bias_gelu_backward(float* in, const float* bias, const float* out_gradient, float* bias_gradient,
                                         int64_t rows, int64_t width, bool by_tanh) {
  for (int64_t row = 0; row < rows; row++) {
    float* x = in + row * width;
    const float* g = out_gradient + row * width;
    int64_t i = 0;
    for (; i + LANES <= width; i += LANES) {
      const f32v d = load(g + i) * gelu(load(x + i) + load(bias + i), by_tanh).slope;
      store(x + i, d);
      store(bias_gradient + i, load(bias_gradient + i) + d);
    }
    if (i < width) {
      const int64_t len = width - i;
      const f32v d = load_some(g + i, len, 0) * gelu(load_some(x + i, len, 0) + load_some(bias + i, len, 0), by_tanh).slope;
      store_some(x + i, d, len);
      store_some(bias_gradient + i, load_some(bias_gradient + i, len, 0) + d, len);
    }
  }
}

struct LinearGelu : torch::autograd::Function<LinearGelu> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                            bool by_tanh) {
    at::AutoDispatchBelowADInplaceOrView below_autograd;
    auto inner = at::mm(x, weight.t());
    auto out = at::empty_like(inner);
    const int64_t width = inner.size(1);
    const float *from = inner.const_data_ptr<float>(), *added = bias.const_data_ptr<float>();
    float* to = out.mutable_data_ptr<float>();
    const Blocks blocks(inner.size(0));
    for_each(blocks.num_blocks, [&](int64_t b) {
      const int64_t at = blocks.begin(b) * width;
      bias_gelu(from + at, added, to + at, blocks.end(b) - blocks.begin(b), width, by_tanh);
    });
    context->save_for_backward({x, weight, bias, inner});
    context->saved_data["by_tanh"] = by_tanh;
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    auto inner = saved[3];
    const bool by_tanh = context->saved_data["by_tanh"].toBool();
    auto out_gradient = gradients[0].contiguous();
    const int64_t width = inner.size(1);
    const Blocks blocks(inner.size(0));
    auto bias_gradients = at::zeros({blocks.num_blocks, width}, inner.options());
    float *data = inner.mutable_data_ptr<float>(), *sums = bias_gradients.mutable_data_ptr<float>();
    const float *bias = saved[2].const_data_ptr<float>(), *g = out_gradient.const_data_ptr<float>();
    for_each(blocks.num_blocks, [&](int64_t b) {
      const int64_t at = blocks.begin(b) * width;
      bias_gelu_backward(data + at, bias, g + at, sums + b * width, blocks.end(b) - blocks.begin(b), width, by_tanh);
    });
    return {at::mm(inner, saved[1]), at::mm(inner.t(), saved[0]), joined(bias_gradients), at::Tensor()};
  }
};

// ---- Dense, bias, dropout, residual, LayerNorm.

// y [rows, width] becomes residual + dropout(y + bias), and out its LayerNorm; statistics [rows, 2]: mean and 1 / deviation.
CLOZE_VECTORIZED void add_norm(float* y, const float* bias, const float* residual, const float* weight, const float* shift,
                               float* out, float* statistics, int64_t first, int64_t rows, int64_t width, float epsilon,
                               const Dropout& dropout) {
  for (int64_t row = first; row < first + rows; row++) {
    float *z = y + row * width, *o = out + row * width;
    const float* r = residual + row * width;
    f32v total = {}, squares = {};
    for (int64_t i = 0; i < width; i += LANES) {
      const f32v kept = dropout_factor(dropout, static_cast<uint32_t>(row * width + i));
      const f32v v = load(r + i) + (load(z + i) + load(bias + i)) * kept;
      total += v;
      store(z + i, v);
    }
    const float mean = sum(total) / static_cast<float>(width);
    for (int64_t i = 0; i < width; i += LANES) {
      const f32v d = load(z + i) - mean;
      squares += d * d;
    }
    const float scale = 1.0f / std::sqrt(sum(squares) / static_cast<float>(width) + epsilon);
    for (int64_t i = 0; i < width; i += LANES) store(o + i, (load(z + i) - mean) * scale * load(weight + i) + load(shift + i));
    statistics[2 * row] = mean;
    statistics[2 * row + 1] = scale;
  }
}

// From out's gradient g: z becomes the gradient of y, `residual` that of the residual; sums [3, width] gain those of bias, weight
// and shift.
CLOZE_VECTORIZED void add_norm_backward(float* y, const float* g, const float* weight, const float* statistics, float* residual,
                                        float* sums, int64_t first, int64_t rows, int64_t width, const Dropout& dropout) {
  float *d_bias = sums, *d_weight = sums + width, *d_shift = sums + 2 * width;
  const float share = 1.0f / static_cast<float>(width);
  for (int64_t row = first; row < first + rows; row++) {
    float *z = y + row * width, *r = residual + row * width;
    const float* d_out = g + row * width;
    const float mean = statistics[2 * row], scale = statistics[2 * row + 1];
    f32v total = {}, along = {};
    for (int64_t i = 0; i < width; i += LANES) {
      const f32v d = load(d_out + i), normal = (load(z + i) - mean) * scale, inner = d * load(weight + i);
      total += inner;
      along += inner * normal;
      store(d_weight + i, load(d_weight + i) + d * normal);
      store(d_shift + i, load(d_shift + i) + d);
    }
    const float mean_gradient = sum(total) * share, mean_along = sum(along) * share;
    for (int64_t i = 0; i < width; i += LANES) {
      const f32v normal = (load(z + i) - mean) * scale;
      const f32v d = (load(d_out + i) * load(weight + i) - mean_gradient - normal * mean_along) * scale;
      const f32v dropped = d * dropout_factor(dropout, static_cast<uint32_t>(row * width + i));
      store(r + i, d);
      store(z + i, dropped);
      store(d_bias + i, load(d_bias + i) + dropped);
    }
  }
}

struct LinearAddNorm : torch::autograd::Function<LinearAddNorm> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                            const at::Tensor& residual, const at::Tensor& norm_weight, const at::Tensor& norm_bias,
                            double epsilon, double probability, int64_t seed) {
    at::AutoDispatchBelowADInplaceOrView below_autograd;
    auto sum = at::mm(x, weight.t());
    auto beside = residual.contiguous();
    auto out = at::empty_like(sum);
    const int64_t rows = sum.size(0), width = sum.size(1);
    auto statistics = at::empty({rows, 2}, sum.options());
    float *y = sum.mutable_data_ptr<float>(), *o = out.mutable_data_ptr<float>(), *s = statistics.mutable_data_ptr<float>();
    const float *added = bias.const_data_ptr<float>(), *r = beside.const_data_ptr<float>();
    const float *w = norm_weight.const_data_ptr<float>(), *shift = norm_bias.const_data_ptr<float>();
    const Dropout dropout(probability, seed);
    const Blocks blocks(rows);
    for_each(blocks.num_blocks, [&](int64_t b) {
      add_norm(y, added, r, w, shift, o, s, blocks.begin(b), blocks.end(b) - blocks.begin(b), width, static_cast<float>(epsilon),
               dropout);
    });
    context->save_for_backward({x, weight, norm_weight, sum, statistics});
    context->saved_data["probability"] = probability;
    context->saved_data["seed"] = seed;
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    auto sum = saved[3];
    auto out_gradient = gradients[0].contiguous();
    auto residual = at::empty_like(sum);
    const int64_t width = sum.size(1);
    const Blocks blocks(sum.size(0));
    auto partial = at::zeros({blocks.num_blocks, 3, width}, sum.options());
    float *y = sum.mutable_data_ptr<float>(), *r = residual.mutable_data_ptr<float>(), *p = partial.mutable_data_ptr<float>();
    const float *g = out_gradient.const_data_ptr<float>(), *w = saved[2].const_data_ptr<float>();
    const float* statistics = saved[4].const_data_ptr<float>();
    const Dropout dropout(context->saved_data["probability"].toDouble(), context->saved_data["seed"].toInt());
    for_each(blocks.num_blocks, [&](int64_t b) {
      add_norm_backward(y, g, w, statistics, r, p + 3 * b * width, blocks.begin(b), blocks.end(b) - blocks.begin(b), width,
                        dropout);
    });
    const auto sums = joined(partial);
    return {at::mm(sum, saved[1]), at::mm(sum.t(), saved[0]), sums[0], residual,    sums[1], sums[2],
            at::Tensor(),          at::Tensor(),              at::Tensor()};
  }
};

// ---- The sum of three embeddings.

CLOZE_VECTORIZED void add_rows(float* to, const float* a, const float* b, const float* c, int64_t width) {
  for (int64_t i = 0; i < width; i++) to[i] = a[i] + b[i] + c[i];
}

CLOZE_VECTORIZED void add_to(float* to, const float* from, int64_t width) {
  for (int64_t i = 0; i < width; i++) to[i] += from[i];
}

struct EmbeddingSum : torch::autograd::Function<EmbeddingSum> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& word, const at::Tensor& position,
                            const at::Tensor& segment, const at::Tensor& word_ids, const at::Tensor& position_ids,
                            const at::Tensor& segment_ids) {
    at::AutoDispatchBelowADInplaceOrView below_autograd;
    const int64_t rows = word_ids.numel(), width = word.size(1);
    auto out = at::empty({rows, width}, word.options());
    float* to = out.mutable_data_ptr<float>();
    const float *w = word.const_data_ptr<float>(), *p = position.const_data_ptr<float>();
    const float* s = segment.const_data_ptr<float>();
    const int64_t *wi = word_ids.const_data_ptr<int64_t>(), *pi = position_ids.const_data_ptr<int64_t>();
    const int64_t* si = segment_ids.const_data_ptr<int64_t>();
    at::parallel_for(0, rows, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i++)
        add_rows(to + i * width, w + wi[i] * width, p + pi[i] * width, s + si[i] * width, width);
    });
    context->save_for_backward({word, position, segment, word_ids, position_ids, segment_ids});
    return out;
  }

  // Tokens of one word add to one row, so threads share out columns, not tokens.
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    auto out_gradient = gradients[0].contiguous();
    const int64_t rows = out_gradient.size(0), width = out_gradient.size(1);
    const Target targets[] = {Target(saved[0]), Target(saved[1]), Target(saved[2])};
    const float* g = out_gradient.const_data_ptr<float>();
    constexpr int64_t COLUMNS = 64;
    for_each((width + COLUMNS - 1) / COLUMNS, [&](int64_t part) {
      const int64_t first = part * COLUMNS, columns = std::min(COLUMNS, width - first);
      for (int table = 0; table < 3; table++) {
        float* to = targets[table].gradient.data_ptr<float>();
        const int64_t* ids = saved[3 + table].const_data_ptr<int64_t>();
        for (int64_t i = 0; i < rows; i++) add_to(to + ids[i] * width + first, g + i * width + first, columns);
      }
    });
    return {targets[0].returned, targets[1].returned, targets[2].returned, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace
}  // namespace cloze

extern "C" {
// Whether the layers below may take x: f32 on the CPU, and no autocast that wants it rounded.
int cloze_is_fusable(at::Tensor* x) {
  return cloze::is_plain(*x) && !at::autocast::is_autocast_enabled(at::kCPU) ? 1 : 0;
}

void cloze_seed_dropout(uint64_t seed) { cloze::draws = seed; }

int cloze_cpu_dropout(at::Tensor* x, double probability, at::Tensor** out, char** error) {
  TRY(error, {
    TORCH_CHECK(x->device().is_cpu() && x->scalar_type() == at::kFloat, "expected a float tensor on the CPU");
    *out = new at::Tensor(cloze::CpuDropout::apply(*x, probability, cloze::draw_seed(probability)));
  })
}

int cloze_linear_gelu(at::Tensor* x, at::Tensor* weight, at::Tensor* bias, int by_tanh, at::Tensor** out, char** error) {
  TRY(error, {
    cloze::check_linear(*x, *weight, *bias);
    *out = new at::Tensor(cloze::LinearGelu::apply(*x, *weight, *bias, by_tanh != 0));
  })
}

int cloze_linear_add_norm(at::Tensor* x, at::Tensor* weight, at::Tensor* bias, at::Tensor* residual, at::Tensor* norm_weight,
                          at::Tensor* norm_bias, double epsilon, double probability, at::Tensor** out, char** error) {
  TRY(error, {
    cloze::check_linear(*x, *weight, *bias);
    cloze::check_plain(*residual, *norm_weight, *norm_bias);
    const int64_t width = bias->numel();
    TORCH_CHECK(cloze::is_matrix(*residual, x->size(0), width) && norm_weight->numel() == width && norm_bias->numel() == width,
                "expected residual [T, O] and a norm of O");
    TORCH_CHECK(width % cloze::LANES == 0, "expected a width that is a multiple of 16, found ", width);
    *out = new at::Tensor(cloze::LinearAddNorm::apply(*x, *weight, *bias, *residual, *norm_weight, *norm_bias, epsilon,
                                                      probability, cloze::draw_seed(probability)));
  })
}

int cloze_embedding_sum(at::Tensor* word, at::Tensor* position, at::Tensor* segment, at::Tensor* word_ids,
                        at::Tensor* position_ids, at::Tensor* segment_ids, at::Tensor** out, char** error) {
  TRY(error, {
    cloze::check_plain(*word, *position, *segment);
    const int64_t width = word->size(-1), len = word_ids->numel();
    TORCH_CHECK(cloze::is_matrix(*word, word->size(0), width) && cloze::is_matrix(*position, position->size(0), width) &&
                    cloze::is_matrix(*segment, segment->size(0), width),
                "expected tables of one width");
    cloze::check_ids(*word_ids, len, word->size(0));
    cloze::check_ids(*position_ids, len, position->size(0));
    cloze::check_ids(*segment_ids, len, segment->size(0));
    *out = new at::Tensor(
        cloze::EmbeddingSum::apply(*word, *position, *segment, *word_ids, *position_ids, *segment_ids));
  })
}
}
