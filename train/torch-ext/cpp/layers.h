// What the layers share: what they take, and where gradients go.
#pragma once
#include "common.h"

namespace cloze {

// A leaf's preset gradient, to be added to in place, or a new one that autograd will add.
struct Target {
  at::Tensor gradient, returned;
  explicit Target(const at::Tensor& table) {
    const auto& preset = table.grad();
    if (table.is_leaf() && preset.defined() && preset.is_contiguous() && preset.scalar_type() == at::kFloat) {
      gradient = preset;
    } else {
      gradient = returned = at::zeros(table.sizes(), table.options());
    }
  }
};

inline bool is_matrix(const at::Tensor& t, int64_t rows, int64_t columns) {
  return t.dim() == 2 && t.size(0) == rows && t.size(1) == columns;
}

inline bool is_plain(const at::Tensor& t) { return t.is_cpu() && t.scalar_type() == at::kFloat && t.is_contiguous(); }

template <typename... Tensors>
void check_plain(const Tensors&... tensors) {
  TORCH_CHECK((is_plain(tensors) && ...), "expected contiguous float tensors on the CPU");
}

inline void check_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  check_plain(x, weight, bias);
  TORCH_CHECK(x.dim() == 2 && is_matrix(weight, bias.numel(), x.size(1)), "expected x [T, I], weight [O, I], bias [O]");
}

inline void check_ids(const at::Tensor& ids, int64_t len, int64_t limit) {
  TORCH_CHECK(ids.is_cpu() && ids.scalar_type() == at::kLong && ids.is_contiguous() && ids.dim() == 1 && ids.numel() == len,
              "expected int64 ids [", len, "] on the CPU");
  const int64_t* id = ids.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < len; i++) TORCH_CHECK(id[i] >= 0 && id[i] < limit, "expected ids below ", limit, ", found ", id[i]);
}

}  // namespace cloze
