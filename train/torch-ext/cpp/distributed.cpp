// Several processes as one trainer: the store where they meet, collectives, and the all-reduce of gradients that runs while
// the backward pass still does.
#include "distributed.h"

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <c10/util/Logging.h>

#include <cstdlib>
#include <exception>
#include <mutex>

#include "try.h"

using WorkRef = c10::intrusive_ptr<c10d::Work>;

static WorkRef all_reduce(const BackendRef& backend, const at::Tensor& tensor, c10d::ReduceOp::RedOpType op) {
  c10d::AllreduceOptions options;
  options.reduceOp = op;
  std::vector<at::Tensor> tensors{tensor};
  return backend->allreduce(tensors, options);
}

// All-reduces slices ("buckets") of a flat gradient, each as soon as every leaf in it and every bucket before it is done.
// The order is the same on all ranks whatever order their gradients come in, as collectives must be.
class Reducer {
 public:
  Reducer(BackendRef backend, std::vector<at::Tensor> buckets, std::vector<size_t> num_leaves)
      : backend_(std::move(backend)), buckets_(std::move(buckets)), num_leaves_(std::move(num_leaves)) {}

  void arm() {
    std::lock_guard<std::mutex> lock(mutex_);
    missing_ = num_leaves_;
    works_.clear();
    failure_ = nullptr;
    armed_ = true;
  }

  // A leaf of this bucket has its gradient. Called from the thread of autograd, which is let go on: `wait` tells of failures.
  void leaf_is_done(size_t bucket) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!armed_ || failure_) return;
    if (missing_[bucket] > 0) missing_[bucket]--;
    try {
      while (works_.size() < buckets_.size() && missing_[works_.size()] == 0) launch();
    } catch (...) {
      failure_ = std::current_exception();
    }
  }

  // Starts what has not been started (leaves that this rank's loss did not reach) and waits for all.
  void wait() {
    std::lock_guard<std::mutex> lock(mutex_);
    TORCH_CHECK(armed_, "wait without arm");
    armed_ = false;
    if (failure_) std::rethrow_exception(failure_);
    while (works_.size() < buckets_.size()) launch();
    for (auto& work : works_) work->wait();
    works_.clear();
  }

 private:
  void launch() { works_.push_back(all_reduce(backend_, buckets_[works_.size()], c10d::ReduceOp::SUM)); }

  BackendRef backend_;
  std::vector<at::Tensor> buckets_;
  std::vector<size_t> num_leaves_;
  std::vector<size_t> missing_;
  std::vector<WorkRef> works_;
  std::exception_ptr failure_;
  std::mutex mutex_;
  bool armed_ = false;
};

using ReducerRef = std::shared_ptr<Reducer>;

struct TellReducer : torch::autograd::PostAccumulateGradHook {
  TellReducer(ReducerRef reducer, size_t bucket) : reducer(std::move(reducer)), bucket(bucket) {}
  void operator()(const at::Tensor&) override { reducer->leaf_is_done(bucket); }
  ReducerRef reducer;
  size_t bucket;
};

// c10d logs a C++ backtrace beside every error that it throws anyway; who wants it sets TORCH_CPP_LOG_LEVEL, as in Python.
static void quieten_log() {
  if (std::getenv("TORCH_CPP_LOG_LEVEL")) {
    c10::initLogging();
  } else {
    FLAGS_caffe2_log_level = c10::GLOG_FATAL;
  }
}

extern "C" {
// The store at host:port, which this process serves if `is_server`; keys are its own under `prefix`.
int cloze_store_open(const char* host, uint16_t port, int is_server, const char* prefix, int64_t timeout_ms, StoreRef** out,
                     char** error) {
  TRY(error, {
    quieten_log();
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = is_server != 0;
    options.waitWorkers = false;
    options.timeout = std::chrono::milliseconds(timeout_ms);
    StoreRef store = c10::make_intrusive<c10d::TCPStore>(std::string(host), options);
    *out = new StoreRef(c10::make_intrusive<c10d::PrefixStore>(std::string(prefix), std::move(store)));
  })
}

int cloze_store_add(StoreRef* store, const char* key, int64_t by, int64_t* sum, char** error) {
  TRY(error, *sum = (*store)->add(key, by))
}

void cloze_store_free(StoreRef* store) { delete store; }

// Collectives over TCP between CPUs. `interface` is a network interface's name; empty takes that of the host's own address.
int cloze_backend_gloo(StoreRef* store, int rank, int world_size, const char* interface, int64_t timeout_ms, BackendRef** out,
                       char** error) {
  TRY(error, {
    auto options = c10d::ProcessGroupGloo::Options::create(std::chrono::milliseconds(timeout_ms));
    options->devices.push_back(*interface ? c10d::ProcessGroupGloo::createDeviceForInterface(interface)
                                          : c10d::ProcessGroupGloo::createDefaultDevice());
    options->threads = 2;
    *out = new BackendRef(c10::make_intrusive<c10d::ProcessGroupGloo>(*store, rank, world_size, options));
  })
}

void cloze_backend_free(BackendRef* backend) { delete backend; }

// In place over all ranks; the sum, or the maximum.
int cloze_all_reduce(BackendRef* backend, at::Tensor* tensor, int maximum, char** error) {
  TRY(error, all_reduce(*backend, *tensor, maximum ? c10d::ReduceOp::MAX : c10d::ReduceOp::SUM)->wait())
}

int cloze_broadcast(BackendRef* backend, at::Tensor* tensor, int root, char** error) {
  TRY(error, {
    c10d::BroadcastOptions options;
    options.rootRank = root;
    std::vector<at::Tensor> tensors{*tensor};
    (*backend)->broadcast(tensors, options)->wait();
  })
}

// Leaf i belongs to bucket bucket_of[i]; buckets are all-reduced in their order.
int cloze_reducer_new(BackendRef* backend, at::Tensor** leaves, const size_t* bucket_of, size_t num_leaves, at::Tensor** buckets,
                      size_t num_buckets, ReducerRef** out, char** error) {
  TRY(error, {
    std::vector<at::Tensor> slices;
    for (size_t i = 0; i < num_buckets; i++) slices.push_back(*buckets[i]);
    std::vector<size_t> counts(num_buckets, 0);
    for (size_t i = 0; i < num_leaves; i++) counts.at(bucket_of[i])++;
    auto reducer = std::make_shared<Reducer>(*backend, std::move(slices), std::move(counts));
    for (size_t i = 0; i < num_leaves; i++) {
      torch::autograd::impl::set_post_acc_grad_hooks(*leaves[i], std::make_unique<TellReducer>(reducer, bucket_of[i]));
    }
    *out = new ReducerRef(std::move(reducer));
  })
}

int cloze_reducer_arm(ReducerRef* reducer, char** error) { TRY(error, (*reducer)->arm()) }

int cloze_reducer_wait(ReducerRef* reducer, char** error) { TRY(error, (*reducer)->wait()) }

void cloze_reducer_free(ReducerRef* reducer) { delete reducer; }
}
