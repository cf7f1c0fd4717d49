// The decoder and the cross entropy of what it predicts, on the CPU in f32. M masked positions, V vocabulary, H hidden.
#include "layers.h"
#include <torch/csrc/autograd/custom_function.h>
#include <cmath>
#include <vector>

namespace cloze {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Logits are kept as [V, M], a row per word and a column per masked position: of the products with them, those of this shape are
// the faster ones, and a word's share in the gradient of the bias is the sum of a row. The softmax runs down the columns, over
// blocks of words by themselves and then over the blocks.

// A block of words [rows, columns], without bias, becomes e^(logit - the column's maximum within it); largest and sums [columns].
CLOZE_VECTORIZED void exponentials(float* logits, const float* bias, int64_t rows, int64_t columns, float* largest, float* sums) {
  for (int64_t i = 0; i < columns; i++) largest[i] = -INFINITY, sums[i] = 0;
  for (int64_t row = 0; row < rows; row++) {
    const float* x = logits + row * columns;
    for (int64_t i = 0; i < columns; i++) {
      const float y = x[i] + bias[row];
      largest[i] = y > largest[i] ? y : largest[i];
    }
  }
  for (int64_t row = 0; row < rows; row++) {
    float* x = logits + row * columns;
    int64_t i = 0;
    for (; i + LANES <= columns; i += LANES) {
      const f32v e = exp(load(x + i) + bias[row] - load(largest + i));
      store(x + i, e);
      store(sums + i, load(sums + i) + e);
    }
    if (i < columns) {
      const int64_t some = columns - i;
      const f32v e = exp(load_some(x + i, some, 0) + bias[row] - load_some(largest + i, some, 0));
      store_some(x + i, e, some);
      store_some(sums + i, load_some(sums + i, some, 0) + e, some);
    }
  }
}

// A block of exponentials becomes the softmax, `factors` [columns] of it; bias_gradient [rows] becomes the sums of its rows.
CLOZE_VECTORIZED void probabilities(float* logits, int64_t rows, int64_t columns, const float* factors, float* bias_gradient) {
  for (int64_t row = 0; row < rows; row++) {
    float* x = logits + row * columns;
    f32v total = {};
    int64_t i = 0;
    for (; i + LANES <= columns; i += LANES) {
      const f32v p = load(x + i) * load(factors + i);
      store(x + i, p);
      total += p;
    }
    if (i < columns) {
      const f32v p = load_some(x + i, columns - i, 0) * load_some(factors + i, columns - i, 0);
      store_some(x + i, p, columns - i);
      total += p;
    }
    bias_gradient[row] = sum(total);
  }
}

// Losses are summed in f64. The gradient is made at once, over the logits, for a loss of weight 1; backward scales what becomes
// of it, which is smaller.
struct LinearCrossEntropy : torch::autograd::Function<LinearCrossEntropy> {
  static constexpr int64_t WORDS = 512;

  static variable_list forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                               const at::Tensor& labels, bool differentiate) {
    at::AutoDispatchBelowADInplaceOrView below_autograd;
    auto logits = at::mm(weight, x.t());
    const int64_t words = logits.size(0), columns = logits.size(1), num_blocks = (words + WORDS - 1) / WORDS;
    const float* added = bias.const_data_ptr<float>();
    const int64_t* label = labels.const_data_ptr<int64_t>();
    float* data = logits.mutable_data_ptr<float>();
    std::vector<float> scores(static_cast<size_t>(columns));
    for (int64_t i = 0; i < columns; i++) scores[i] = data[label[i] * columns + i] + added[label[i]];
    auto statistics = at::empty({2, num_blocks, columns}, logits.options());
    float *largest = statistics.mutable_data_ptr<float>(), *sums = largest + num_blocks * columns;
    const auto rows_of = [&](int64_t block) { return std::min(WORDS, words - block * WORDS); };
    for_each(num_blocks, [&](int64_t b) {
      exponentials(data + b * WORDS * columns, added + b * WORDS, rows_of(b), columns, largest + b * columns, sums + b * columns);
    });
    double loss = 0;
    int64_t correct = 0;
    for (int64_t i = 0; i < columns; i++) {
      float most = -INFINITY;
      for (int64_t b = 0; b < num_blocks; b++) most = std::max(most, largest[b * columns + i]);
      double total = 0;
      for (int64_t b = 0; b < num_blocks; b++)
        total += static_cast<double>(sums[b * columns + i]) * std::exp(static_cast<double>(largest[b * columns + i]) - most);
      const double log_sum = std::log(total) + most;
      loss += log_sum - scores[i];
      correct += scores[i] >= most;
      // What brings a block's exponentials to the softmax takes the place of its largest logit.
      for (int64_t b = 0; b < num_blocks; b++) {
        float& factor = largest[b * columns + i];
        factor = static_cast<float>(std::exp(static_cast<double>(factor) - log_sum));
      }
    }
    if (differentiate) {
      auto bias_gradient = at::empty_like(bias);
      float* d_bias = bias_gradient.mutable_data_ptr<float>();
      for_each(num_blocks, [&](int64_t b) {
        probabilities(data + b * WORDS * columns, rows_of(b), columns, largest + b * columns, d_bias + b * WORDS);
      });
      for (int64_t i = 0; i < columns; i++) data[label[i] * columns + i] -= 1, d_bias[label[i]] -= 1;
      context->save_for_backward({x, weight, logits, bias_gradient});
    }
    auto count = at::full({}, correct, at::kLong);
    context->mark_non_differentiable({count});
    return {at::full({}, loss, logits.options()), count};
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto& d_logits = saved[2];
    const double scale = gradients[0].item<double>();
    auto d_x = at::empty_like(saved[0]);
    at::addmm_out(d_x, d_x, d_logits.t(), saved[1], 0, scale);
    Target d_weight(saved[1]);
    at::addmm_out(d_weight.gradient, d_weight.gradient, d_logits, saved[0], 1, scale);
    return {d_x, d_weight.returned, saved[3] * scale, at::Tensor(), at::Tensor()};
  }
};

}  // namespace
}  // namespace cloze

extern "C" {
int cloze_linear_cross_entropy(at::Tensor* x, at::Tensor* weight, at::Tensor* bias, at::Tensor* labels, at::Tensor** loss,
                               at::Tensor** correct, char** error) {
  TRY(error, {
    cloze::check_linear(*x, *weight, *bias);
    cloze::check_ids(*labels, x->size(0), bias->numel());
    const bool differentiate = at::GradMode::is_enabled();
    auto out = cloze::LinearCrossEntropy::apply(*x, *weight, *bias, *labels, differentiate);
    *loss = new at::Tensor(out[0]);
    *correct = new at::Tensor(out[1]);
  })
}
}
