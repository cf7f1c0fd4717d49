// Self-attention over packed sequences: [T, 3 H] queries, keys and values to [T, H], each sequence by itself, no padding.
// T tokens, H = N * D hidden, N heads, D head width, L the longest sequence.
#include "common.h"
#include <torch/csrc/autograd/custom_function.h>
#include <cmath>
#include <vector>

namespace cloze {
namespace {

// The BLAS inside libtorch, where it exports one; torch's own matrix product otherwise.
extern "C" __attribute__((weak)) void sgemm_(const char*, const char*, const int*, const int*, const int*, const float*,
                                             const float*, const int*, const float*, const int*, const float*, float*,
                                             const int*);

at::Tensor view_of(const float* data, int64_t rows, int64_t columns, int64_t stride) {
  return at::from_blob(const_cast<float*>(data), {rows, columns}, {stride, 1}, at::kFloat);
}

// A row-major matrix as it lies in memory, to be read as it is or transposed.
struct Matrix {
  const float* data;
  int64_t stride;
  bool transposed;
};

// c [m, n] = alpha * a [m, k] * b [k, n] + beta * c, row-major.
void multiply(int64_t m, int64_t n, int64_t k, float alpha, Matrix a, Matrix b, float beta, float* c, int64_t c_stride) {
  if (sgemm_ != nullptr) {
    // In BLAS's column-major eyes all three are transposed: c^T = b^T a^T.
    const int rows = static_cast<int>(n), columns = static_cast<int>(m), inner = static_cast<int>(k);
    const int lda = static_cast<int>(b.stride), ldb = static_cast<int>(a.stride), ldc = static_cast<int>(c_stride);
    sgemm_(b.transposed ? "T" : "N", a.transposed ? "T" : "N", &rows, &columns, &inner, &alpha, b.data, &lda, a.data, &ldb, &beta,
           c, &ldc);
    return;
  }
  auto read = [](Matrix x, int64_t rows, int64_t columns) {
    return x.transposed ? view_of(x.data, columns, rows, x.stride).t() : view_of(x.data, rows, columns, x.stride);
  };
  auto out = view_of(c, m, n, c_stride);
  at::addmm_out(out, out, read(a, m, k), read(b, k, n), beta, alpha);
}

// Queries are taken this many at a time, so that their scores stay in the cache.
constexpr int64_t QUERIES = 128;

int64_t padded(int64_t len) { return (len + LANES - 1) / LANES * LANES; }

// Where the mask's counter stands for a row: rows of all lengths are as far apart as the longest is long, so no two overlap.
struct Counter {
  uint32_t first, step;
  uint32_t at(int64_t row) const { return first + static_cast<uint32_t>(row) * step; }
};

// scores [rows, stride]: e^(score - row's maximum), with dropout; norms[row]: what the sum over values is multiplied with;
// log_sums[row] brings the probabilities back in backward. Columns from `columns` on are overwritten.
CLOZE_VECTORIZED void softmax_rows(float* scores, int64_t rows, int64_t columns, int64_t stride, Counter counter,
                                   const Dropout& dropout, float* norms, float* log_sums) {
  for (int64_t row = 0; row < rows; row++) {
    float* s = scores + row * stride;
    for (int64_t i = columns; i < stride; i++) s[i] = -INFINITY;
    f32v most = load(s);
    for (int64_t i = LANES; i < stride; i += LANES) most = max(most, load(s + i));
    const float row_max = max(most);
    f32v total = {};
    const uint32_t at = counter.at(row);
    for (int64_t i = 0; i < stride; i += LANES) {
      const f32v e = exp(load(s + i) - row_max);
      total += e;
      store(s + i, e * dropout_factor(dropout, at + static_cast<uint32_t>(i)));
    }
    const float row_sum = sum(total);
    norms[row] = 1.0f / row_sum;
    log_sums[row] = row_max + std::log(row_sum);
  }
}

CLOZE_VECTORIZED void scale_rows(float* out, int64_t rows, int64_t columns, int64_t stride, const float* factors) {
  for (int64_t row = 0; row < rows; row++) {
    float* o = out + row * stride;
    for (int64_t i = 0; i < columns; i++) o[i] *= factors[row];
  }
}

// Sum over `columns` of a * b, row by row.
CLOZE_VECTORIZED void dot_rows(const float* a, const float* b, int64_t rows, int64_t columns, int64_t stride, float* sums) {
  for (int64_t row = 0; row < rows; row++) {
    const float *x = a + row * stride, *y = b + row * stride;
    f32v total = {};
    int64_t i = 0;
    for (; i + LANES <= columns; i += LANES) total += load(x + i) * load(y + i);
    if (i < columns) total += load_some(x + i, columns - i, 0) * load_some(y + i, columns - i, 0);
    sums[row] = sum(total);
  }
}

// In: scores, and gradients of the dropped-out probabilities. Out: those probabilities over the scores, and the gradient of the
// unscaled scores over the gradients.
CLOZE_VECTORIZED void softmax_rows_backward(float* scores, float* gradients, int64_t rows, int64_t stride, Counter counter,
                                            const Dropout& dropout, const float* log_sums, const float* deltas, float scale) {
  for (int64_t row = 0; row < rows; row++) {
    float *s = scores + row * stride, *g = gradients + row * stride;
    const uint32_t at = counter.at(row);
    for (int64_t i = 0; i < stride; i += LANES) {
      const f32v p = exp(load(s + i) - log_sums[row]);
      const f32v factor = dropout_factor(dropout, at + static_cast<uint32_t>(i));
      store(g + i, p * (load(g + i) * factor - deltas[row]) * scale);
      store(s + i, p * factor);
    }
  }
}

// One call's shapes; the pieces of work are (sequence, head) pairs.
struct Shape {
  const int32_t* bounds;
  int64_t num_sequences, num_heads, width, longest, num_tokens;

  int64_t hidden() const { return num_heads * width; }
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(width)); }
  int64_t num_pairs() const { return num_sequences * num_heads; }
  int64_t begin(int64_t pair) const { return bounds[pair / num_heads]; }
  int64_t len(int64_t pair) const { return bounds[pair / num_heads + 1] - begin(pair); }
  int64_t head(int64_t pair) const { return pair % num_heads; }
  Counter counter(int64_t pair, int64_t query) const {
    const auto step = static_cast<uint32_t>(padded(longest));
    return {static_cast<uint32_t>(head(pair) * num_tokens + begin(pair) + query) * step, step};
  }
};

// qkv [T, 3 H], out [T, H], log_sums [N, T].
void attend(const Shape& shape, const float* qkv, float* out, float* log_sums, const Dropout& dropout) {
  const int64_t hidden = shape.hidden(), width = shape.width, row = 3 * hidden;
  for_each(shape.num_pairs(), [&](int64_t pair) {
    thread_local std::vector<float> scores, norms;
    const int64_t len = shape.len(pair), stride = padded(len), begin = shape.begin(pair), head = shape.head(pair);
    scores.resize(static_cast<size_t>(QUERIES * padded(shape.longest)));
    norms.resize(QUERIES);
    const float *q = qkv + begin * row + head * width, *k = q + hidden, *v = k + hidden;
    for (int64_t first = 0; first < len; first += QUERIES) {
      const int64_t rows = std::min(QUERIES, len - first);
      float* o = out + (begin + first) * hidden + head * width;
      multiply(rows, len, width, shape.scale(), {q + first * row, row, false}, {k, row, true}, 0, scores.data(), stride);
      softmax_rows(scores.data(), rows, len, stride, shape.counter(pair, first), dropout, norms.data(),
                   log_sums + head * shape.num_tokens + begin + first);
      multiply(rows, width, len, 1, {scores.data(), stride, false}, {v, row, false}, 0, o, hidden);
      scale_rows(o, rows, width, hidden, norms.data());
    }
  });
}

void attend_backward(const Shape& shape, const float* qkv, const float* out, const float* log_sums, const float* out_gradient,
                     float* qkv_gradient, const Dropout& dropout) {
  const int64_t hidden = shape.hidden(), width = shape.width, row = 3 * hidden;
  for_each(shape.num_pairs(), [&](int64_t pair) {
    thread_local std::vector<float> scores, gradients, deltas;
    const int64_t len = shape.len(pair), stride = padded(len), begin = shape.begin(pair), head = shape.head(pair);
    scores.resize(static_cast<size_t>(QUERIES * padded(shape.longest)));
    gradients.resize(scores.size());
    deltas.resize(QUERIES);
    const float *q = qkv + begin * row + head * width, *k = q + hidden, *v = k + hidden;
    float *dq = qkv_gradient + begin * row + head * width, *dk = dq + hidden, *dv = dk + hidden;
    for (int64_t first = 0; first < len; first += QUERIES) {
      const int64_t rows = std::min(QUERIES, len - first);
      const int64_t at = (begin + first) * hidden + head * width;
      const float beta = first == 0 ? 0 : 1;
      const Matrix query = {q + first * row, row, false}, d_out = {out_gradient + at, hidden, false};
      const Matrix probabilities = {scores.data(), stride, true}, d_scores = {gradients.data(), stride, false};
      multiply(rows, len, width, shape.scale(), query, {k, row, true}, 0, scores.data(), stride);
      multiply(rows, len, width, 1, d_out, {v, row, true}, 0, gradients.data(), stride);
      dot_rows(out_gradient + at, out + at, rows, width, hidden, deltas.data());
      softmax_rows_backward(scores.data(), gradients.data(), rows, stride, shape.counter(pair, first), dropout,
                            log_sums + head * shape.num_tokens + begin + first, deltas.data(), shape.scale());
      multiply(len, width, rows, 1, probabilities, d_out, beta, dv, row);
      multiply(rows, width, len, 1, d_scores, {k, row, false}, 0, dq + first * row, row);
      multiply(len, width, rows, 1, {gradients.data(), stride, true}, query, beta, dk, row);
    }
  });
}

Shape shape_of(const at::Tensor& qkv, const at::Tensor& cu_seqlens, int64_t num_heads, int64_t longest) {
  return {cu_seqlens.const_data_ptr<int32_t>(), cu_seqlens.numel() - 1, num_heads, qkv.size(1) / 3 / num_heads, longest,
          qkv.size(0)};
}

struct CpuAttention : torch::autograd::Function<CpuAttention> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& cu_seqlens,
                            int64_t num_heads, int64_t longest, double probability, int64_t seed) {
    at::AutoDispatchBelowADInplaceOrView below_autograd;
    auto qkv = x.contiguous();
    const auto shape = shape_of(qkv, cu_seqlens, num_heads, longest);
    auto out = at::empty({qkv.size(0), shape.hidden()}, qkv.options());
    auto log_sums = at::empty({num_heads, qkv.size(0)}, qkv.options());
    attend(shape, qkv.const_data_ptr<float>(), out.mutable_data_ptr<float>(), log_sums.mutable_data_ptr<float>(),
           Dropout(probability, seed));
    context->save_for_backward({qkv, cu_seqlens, out, log_sums});
    context->saved_data["num_heads"] = num_heads;
    context->saved_data["longest"] = longest;
    context->saved_data["probability"] = probability;
    context->saved_data["seed"] = seed;
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    auto out_gradient = gradients[0].contiguous();
    auto qkv_gradient = at::empty_like(saved[0]);
    const auto shape =
        shape_of(saved[0], saved[1], context->saved_data["num_heads"].toInt(), context->saved_data["longest"].toInt());
    attend_backward(shape, saved[0].const_data_ptr<float>(), saved[2].const_data_ptr<float>(), saved[3].const_data_ptr<float>(),
                    out_gradient.const_data_ptr<float>(), qkv_gradient.mutable_data_ptr<float>(),
                    Dropout(context->saved_data["probability"].toDouble(), context->saved_data["seed"].toInt()));
    return {qkv_gradient, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

// Sequence by sequence, for what has no kernel of its own. part: 0 queries, 1 keys, 2 values of [T, 3, N, D].
at::Tensor one_by_one(const at::Tensor& qkv, const at::Tensor& cu_seqlens, double probability) {
  auto bounds = cu_seqlens.to(at::kCPU);
  const int32_t* at = bounds.const_data_ptr<int32_t>();
  std::vector<at::Tensor> outs;
  for (int64_t i = 0; i + 1 < bounds.numel(); i++) {
    auto heads = qkv.narrow(0, at[i], at[i + 1] - at[i]).permute({1, 2, 0, 3}).unsqueeze(1);  // [3, 1, N, S, D]
    outs.push_back(at::scaled_dot_product_attention(heads[0], heads[1], heads[2], {}, probability).squeeze(0).transpose(0, 1));
  }
  return at::cat(outs, 0);
}

at::Tensor attention(const at::Tensor& qkv, const at::Tensor& cu_seqlens, int64_t num_heads, int64_t longest,
                     double probability) {
  if (qkv.is_cpu() && qkv.scalar_type() == at::kFloat)
    return CpuAttention::apply(qkv, cu_seqlens, num_heads, longest, probability, draw_seed(probability));
  const int64_t num_tokens = qkv.size(0), hidden = qkv.size(1) / 3;
  auto parts = qkv.view({num_tokens, 3, num_heads, hidden / num_heads});
  const auto part = [&](int64_t index) { return parts.select(1, index); };
  at::Tensor out;
  if (qkv.is_cuda() && (qkv.scalar_type() == at::kHalf || qkv.scalar_type() == at::kBFloat16)) {
    out = std::get<0>(at::_flash_attention_forward(part(0), part(1), part(2), cu_seqlens, cu_seqlens, longest, longest, probability,
                                                   /*is_causal=*/false, /*return_debug_mask=*/false));
  } else if (qkv.is_cuda() && qkv.scalar_type() == at::kFloat) {
    const auto batch = [&](int64_t index) { return part(index).unsqueeze(0); };
    out = std::get<0>(at::_efficient_attention_forward(batch(0), batch(1), batch(2), {}, cu_seqlens, cu_seqlens, longest, longest,
                                                       probability, /*custom_mask_type=*/0, /*compute_log_sumexp=*/true))
              .squeeze(0);
  } else {
    out = one_by_one(parts, cu_seqlens, probability);
  }
  return out.reshape({num_tokens, hidden});
}

}  // namespace
}  // namespace cloze

extern "C" {
// qkv [T, 3 H], cu_seqlens [B + 1] int32 on the same device; gives [T, H].
int cloze_attention(at::Tensor* qkv, at::Tensor* cu_seqlens, int64_t num_heads, int64_t longest, double probability,
                    at::Tensor** out, char** error) {
  TRY(error, {
    TORCH_CHECK(qkv->dim() == 2 && num_heads > 0 && qkv->size(1) % (3 * num_heads) == 0, "expected [T, 3 H], H a multiple of N");
    TORCH_CHECK(cu_seqlens->dim() == 1 && cu_seqlens->numel() > 1 && cu_seqlens->scalar_type() == at::kInt &&
                    cu_seqlens->device() == qkv->device() && cu_seqlens->is_contiguous(),
                "expected int32 bounds of sequences beside the tokens");
    if (cu_seqlens->is_cpu()) {
      const int32_t* bounds = cu_seqlens->const_data_ptr<int32_t>();
      const int64_t last = cu_seqlens->numel() - 1;
      bool ascending = bounds[0] == 0 && bounds[last] == qkv->size(0);
      for (int64_t i = 0; i < last; i++) {
        const int64_t len = int64_t{bounds[i + 1]} - bounds[i];
        ascending = ascending && len >= 1 && len <= longest;
      }
      TORCH_CHECK(ascending, "expected ascending bounds from 0 to the number of tokens, none further apart than the longest");
    }
    *out = new at::Tensor(cloze::attention(*qkv, *cu_seqlens, num_heads, longest, probability));
  })
}
}
