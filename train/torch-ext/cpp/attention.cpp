// Self-attention over packed sequences, each by itself, no padding: from queries, keys and values of every token, [T, 3 H], or from
// queries of some tokens, [R, H], and keys and values of all, [T, 2 H].
// T tokens, R queries, H = N * D hidden, N heads, D head width.
#include "common.h"
#include <ATen/detail/CUDAHooksInterface.h>
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

// One call's shapes; the pieces of work are (sequence, head) pairs. Rows of queries and of keys lie `query_stride` and `stride`
// apart, a key's value H behind it.
struct Shape {
  const int32_t *query_bounds, *bounds;
  int64_t num_sequences, num_heads, width, longest, num_queries, query_stride, stride;

  int64_t hidden() const { return num_heads * width; }
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(width)); }
  int64_t num_pairs() const { return num_sequences * num_heads; }
  int64_t head(int64_t pair) const { return pair % num_heads; }
  int64_t begin(int64_t pair) const { return bounds[pair / num_heads]; }
  int64_t len(int64_t pair) const { return bounds[pair / num_heads + 1] - begin(pair); }
  int64_t first_query(int64_t pair) const { return query_bounds[pair / num_heads]; }
  int64_t last_query(int64_t pair) const { return query_bounds[pair / num_heads + 1]; }
  int64_t query_at(int64_t pair, int64_t query) const { return query * query_stride + head(pair) * width; }
  int64_t key_at(int64_t pair) const { return begin(pair) * stride + head(pair) * width; }
  Counter counter(int64_t pair, int64_t query) const {
    const auto step = static_cast<uint32_t>(padded(longest));
    return {static_cast<uint32_t>(head(pair) * num_queries + query) * step, step};
  }
};

// queries [R, H], keys and values [T, H] each, out [R, H], log_sums [N, R].
void attend(const Shape& shape, const float* queries, const float* keys, float* out, float* log_sums, const Dropout& dropout) {
  const int64_t hidden = shape.hidden(), width = shape.width, row = shape.stride;
  for_each(shape.num_pairs(), [&](int64_t pair) {
    thread_local std::vector<float> scores, norms;
    const int64_t len = shape.len(pair), stride = padded(len), head = shape.head(pair), last = shape.last_query(pair);
    scores.resize(static_cast<size_t>(QUERIES * padded(shape.longest)));
    norms.resize(QUERIES);
    const float *k = keys + shape.key_at(pair), *v = k + hidden;
    for (int64_t query = shape.first_query(pair); query < last; query += QUERIES) {
      const int64_t rows = std::min(QUERIES, last - query);
      const Matrix q = {queries + shape.query_at(pair, query), shape.query_stride, false};
      float* o = out + query * hidden + head * width;
      multiply(rows, len, width, shape.scale(), q, {k, row, true}, 0, scores.data(), stride);
      softmax_rows(scores.data(), rows, len, stride, shape.counter(pair, query), dropout, norms.data(),
                   log_sums + head * shape.num_queries + query);
      multiply(rows, width, len, 1, {scores.data(), stride, false}, {v, row, false}, 0, o, hidden);
      scale_rows(o, rows, width, hidden, norms.data());
    }
  });
}

// The gradients lie as queries and keys do.
void attend_backward(const Shape& shape, const float* queries, const float* keys, const float* out, const float* log_sums,
                     const float* out_gradient, float* query_gradient, float* key_gradient, const Dropout& dropout) {
  const int64_t hidden = shape.hidden(), width = shape.width, row = shape.stride;
  for_each(shape.num_pairs(), [&](int64_t pair) {
    thread_local std::vector<float> scores, gradients, deltas;
    const int64_t len = shape.len(pair), stride = padded(len), head = shape.head(pair), last = shape.last_query(pair);
    scores.resize(static_cast<size_t>(QUERIES * padded(shape.longest)));
    gradients.resize(scores.size());
    deltas.resize(QUERIES);
    const float *k = keys + shape.key_at(pair), *v = k + hidden;
    float *dk = key_gradient + shape.key_at(pair), *dv = dk + hidden;
    for (int64_t query = shape.first_query(pair); query < last; query += QUERIES) {
      const int64_t rows = std::min(QUERIES, last - query);
      const int64_t at = query * hidden + head * width;
      const float beta = query == shape.first_query(pair) ? 0 : 1;
      const Matrix q = {queries + shape.query_at(pair, query), shape.query_stride, false};
      const Matrix d_out = {out_gradient + at, hidden, false};
      const Matrix probabilities = {scores.data(), stride, true}, d_scores = {gradients.data(), stride, false};
      multiply(rows, len, width, shape.scale(), q, {k, row, true}, 0, scores.data(), stride);
      multiply(rows, len, width, 1, d_out, {v, row, true}, 0, gradients.data(), stride);
      dot_rows(out_gradient + at, out + at, rows, width, hidden, deltas.data());
      softmax_rows_backward(scores.data(), gradients.data(), rows, stride, shape.counter(pair, query), dropout,
                            log_sums + head * shape.num_queries + query, deltas.data(), shape.scale());
      multiply(len, width, rows, 1, probabilities, d_out, beta, dv, row);
      multiply(rows, width, len, 1, d_scores, {k, row, false}, 0, query_gradient + shape.query_at(pair, query), shape.query_stride);
      multiply(len, width, rows, 1, {gradients.data(), stride, true}, q, beta, dk, row);
    }
  });
}

// Whose tokens attend to whose: `query_bounds` cut the queries, `bounds` the tokens.
struct Bounds {
  at::Tensor query_bounds, bounds;
  int64_t longest;
};

// `queries` are undefined where they are the first H columns of `keys`.
struct CpuAttention : torch::autograd::Function<CpuAttention> {
  static Shape shape_of(const at::Tensor& queries, const at::Tensor& keys, const Bounds& bounds, int64_t num_heads) {
    const auto& asking = queries.defined() ? queries : keys;
    const int64_t hidden = queries.defined() ? queries.size(1) : keys.size(1) / 3;
    return {bounds.query_bounds.const_data_ptr<int32_t>(), bounds.bounds.const_data_ptr<int32_t>(), bounds.bounds.numel() - 1,
            num_heads, hidden / num_heads, bounds.longest, asking.size(0), asking.size(1), keys.size(1)};
  }

  static at::Tensor forward(torch::autograd::AutogradContext* context, const std::optional<at::Tensor>& some_queries,
                            const at::Tensor& all, const at::Tensor& query_bounds, const at::Tensor& key_bounds,
                            int64_t longest, int64_t num_heads, double probability, int64_t seed) {
    at::AutoDispatchBelowADInplaceOrView below_autograd;
    const auto keys = all.contiguous(), queries = some_queries ? some_queries->contiguous() : at::Tensor();
    const auto shape = shape_of(queries, keys, {query_bounds, key_bounds, longest}, num_heads);
    auto out = at::empty({shape.num_queries, shape.hidden()}, keys.options());
    auto log_sums = at::empty({num_heads, shape.num_queries}, keys.options());
    const float* k = keys.const_data_ptr<float>();
    attend(shape, queries.defined() ? queries.const_data_ptr<float>() : k, queries.defined() ? k : k + shape.hidden(),
           out.mutable_data_ptr<float>(), log_sums.mutable_data_ptr<float>(), Dropout(probability, seed));
    context->save_for_backward({queries, keys, query_bounds, key_bounds, out, log_sums});
    context->saved_data["longest"] = longest;
    context->saved_data["num_heads"] = num_heads;
    context->saved_data["probability"] = probability;
    context->saved_data["seed"] = seed;
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto &queries = saved[0], &keys = saved[1];
    auto out_gradient = gradients[0].contiguous();
    auto key_gradient = at::empty_like(keys), query_gradient = queries.defined() ? at::empty_like(queries) : at::Tensor();
    const auto shape = shape_of(queries, keys, {saved[2], saved[3], context->saved_data["longest"].toInt()},
                                context->saved_data["num_heads"].toInt());
    const int64_t behind = queries.defined() ? 0 : shape.hidden();
    const float* k = keys.const_data_ptr<float>();
    float* dk = key_gradient.mutable_data_ptr<float>();
    attend_backward(shape, queries.defined() ? queries.const_data_ptr<float>() : k, k + behind, saved[4].const_data_ptr<float>(),
                    saved[5].const_data_ptr<float>(), out_gradient.const_data_ptr<float>(),
                    queries.defined() ? query_gradient.mutable_data_ptr<float>() : dk, dk + behind,
                    Dropout(context->saved_data["probability"].toDouble(), context->saved_data["seed"].toInt()));
    torch::autograd::variable_list all(8);
    all[0] = query_gradient;
    all[1] = key_gradient;
    return all;
  }
};

// Sequence by sequence, for what has no kernel of its own: q [R, N, D], k and v [T, N, D].
at::Tensor one_by_one(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Bounds& bounds, double probability) {
  auto asking = bounds.query_bounds.to(at::kCPU), asked = bounds.bounds.to(at::kCPU);
  const auto sequence = [](const at::Tensor& of, const at::Tensor& bounds, int64_t i) {
    const int32_t* at = bounds.const_data_ptr<int32_t>();
    return of.narrow(0, at[i], at[i + 1] - at[i]).transpose(0, 1).unsqueeze(0);  // [1, N, S, D]
  };
  std::vector<at::Tensor> outs;
  for (int64_t i = 0; i + 1 < asked.numel(); i++) {
    auto out = at::scaled_dot_product_attention(sequence(q, asking, i), sequence(k, asked, i), sequence(v, asked, i), {}, probability);
    outs.push_back(out.squeeze(0).transpose(0, 1));
  }
  return at::cat(outs, 0);
}

enum class Kernel { kFlash, kEfficient, kOneByOne };

// What computes heads of this width. FlashAttention-2 is for 16 bits, widths that are a multiple of 8 up to 256, and compute capability 8.0 on,
// which supportsBFloat16ConvolutionWithCuDNNv8 asks for; the memory-efficient kernel wants rows aligned to 16 bytes.
Kernel kernel_for(const at::Tensor& keys, int64_t head_width) {
  const auto type = keys.scalar_type();
  const bool half = type == at::kHalf || type == at::kBFloat16;
  if (!keys.is_cuda() || !(half || type == at::kFloat)) return Kernel::kOneByOne;
  const bool is_recent = at::detail::getCUDAHooks().supportsBFloat16ConvolutionWithCuDNNv8();
  if (half && head_width % 8 == 0 && head_width <= 256 && is_recent) return Kernel::kFlash;
  return head_width * static_cast<int64_t>(keys.element_size()) % 16 == 0 ? Kernel::kEfficient : Kernel::kOneByOne;
}

at::Tensor attention(const std::optional<at::Tensor>& queries, const at::Tensor& keys, const Bounds& bounds, int64_t num_heads,
                     int64_t most_queries, double probability) {
  if (keys.is_cpu() && keys.scalar_type() == at::kFloat)
    return CpuAttention::apply(queries, keys, bounds.query_bounds, bounds.bounds, bounds.longest, num_heads, probability,
                               draw_seed(probability));
  const int64_t num_parts = queries ? 2 : 3, hidden = keys.size(1) / num_parts;
  // Cut at once: the gradients of the parts come back as one stack, not as sums of tensors that are mostly zeros.
  const auto parts = keys.view({keys.size(0), num_parts, num_heads, hidden / num_heads}).unbind(1);
  const auto &k = parts[num_parts - 2], &v = parts[num_parts - 1];
  const auto q = queries ? queries->view({queries->size(0), num_heads, hidden / num_heads}) : parts[0];
  at::Tensor out;
  const Kernel kernel = kernel_for(keys, hidden / num_heads);
  if (kernel == Kernel::kFlash) {
    out = std::get<0>(at::_flash_attention_forward(q, k, v, bounds.query_bounds, bounds.bounds, most_queries, bounds.longest,
                                                   probability, /*is_causal=*/false, /*return_debug_mask=*/false));
  } else if (kernel == Kernel::kEfficient) {
    out = std::get<0>(at::_efficient_attention_forward(q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0), {}, bounds.query_bounds,
                                                       bounds.bounds, most_queries, bounds.longest, probability,
                                                       /*custom_mask_type=*/0, /*compute_log_sumexp=*/true))
              .squeeze(0);
  } else {
    out = one_by_one(q, k, v, bounds, probability);
  }
  return out.reshape({q.size(0), hidden});
}

void check_bounds(const at::Tensor& bounds, int64_t count, int64_t longest, const at::Tensor& beside) {
  TORCH_CHECK(bounds.dim() == 1 && bounds.numel() > 1 && bounds.scalar_type() == at::kInt && bounds.device() == beside.device() &&
                  bounds.is_contiguous(),
              "expected int32 bounds of sequences beside the tokens");
  if (!bounds.is_cpu()) return;
  const int32_t* at = bounds.const_data_ptr<int32_t>();
  const int64_t last = bounds.numel() - 1;
  bool ascending = at[0] == 0 && at[last] == count;
  for (int64_t i = 0; i < last; i++) {
    const int64_t len = int64_t{at[i + 1]} - at[i];
    ascending = ascending && len >= 1 && len <= longest;
  }
  TORCH_CHECK(ascending, "expected ascending bounds from 0 to ", count, ", none further apart than ", longest);
}

}  // namespace
}  // namespace cloze

extern "C" {
// Bounds [B + 1] int32 are on the device of the tokens. Without queries and their bounds, keys are qkv [T, 3 H] and it gives
// [T, H]; with queries [R, H], keys are [T, 2 H] and it gives [R, H].
int cloze_attention(at::Tensor* queries, at::Tensor* keys, at::Tensor* query_bounds, at::Tensor* bounds, int64_t num_heads,
                    int64_t most_queries, int64_t longest, double probability, at::Tensor** out, char** error) {
  TRY(error, {
    const bool of_some = queries != nullptr;
    const int64_t num_parts = of_some ? 2 : 3;
    TORCH_CHECK(keys->dim() == 2 && num_heads > 0 && keys->size(1) % (num_parts * num_heads) == 0,
                "expected [T, ", num_parts, " H], H a multiple of N");
    TORCH_CHECK(!of_some || (queries->dim() == 2 && queries->size(1) * 2 == keys->size(1) && queries->device() == keys->device() &&
                             queries->scalar_type() == keys->scalar_type()),
                "expected queries [R, H] beside keys and values [T, 2 H]");
    cloze::check_bounds(*bounds, keys->size(0), longest, *keys);
    if (of_some) {
      cloze::check_bounds(*query_bounds, queries->size(0), most_queries, *keys);
      TORCH_CHECK(query_bounds->numel() == bounds->numel(), "expected as many sequences of queries as of tokens");
    }
    *out = new at::Tensor(cloze::attention(of_some ? std::optional(*queries) : std::nullopt, *keys,
                                           {of_some ? *query_bounds : *bounds, *bounds, longest}, num_heads,
                                           of_some ? most_queries : longest, probability));
  })
}
}
