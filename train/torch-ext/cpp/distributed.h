#pragma once
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

// What Rust holds: a counted reference, type-erased, so that the same calls drive Gloo and NCCL.
using StoreRef = c10::intrusive_ptr<c10d::Store>;
using BackendRef = c10::intrusive_ptr<c10d::Backend>;
