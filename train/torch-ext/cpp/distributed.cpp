// Several processes as one trainer: the store where they meet, collectives, and the all-reduce of gradients that runs while
// the backward pass still does.
#include "distributed.h"

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <c10/util/Logging.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <mutex>
#include <thread>
#include <utility>

#include "try.h"

using WorkRef = c10::intrusive_ptr<c10d::Work>;
using InterfaceRef = std::shared_ptr<::gloo::transport::Device>;
using Clock = std::chrono::steady_clock;

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

  // Starts what has not been started: leaves that this rank's loss did not reach.
  void finish() {
    std::lock_guard<std::mutex> lock(mutex_);
    TORCH_CHECK(armed_, "finish without arm");
    armed_ = false;
    if (failure_) std::rethrow_exception(failure_);
    while (works_.size() < buckets_.size()) launch();
  }

  // Waits for all. Over NCCL a wait that the GPU would do, for ever if a peer is gone, is done here first, for so long.
  void wait(std::chrono::milliseconds timeout) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto end = Clock::now() + timeout;
    for (auto& work : works_) {
      if (is_nccl()) wait_on_host(*work, end);
      work->wait();
    }
    works_.clear();
  }

  // Ends what is under way, so that the GPU is free again. Gloo's operations end by themselves.
  void abort() {
    std::lock_guard<std::mutex> lock(mutex_);
    armed_ = false;
    works_.clear();
    if (is_nccl() && !std::exchange(aborted_, true)) backend_->abort();
  }

 private:
  bool is_nccl() const { return backend_->getBackendName() == "nccl"; }

  static void wait_on_host(c10d::Work& work, Clock::time_point end) {
    while (!work.isCompleted()) {
      TORCH_CHECK(Clock::now() < end, "NCCL: the gradient of all processes did not come in time");
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    if (auto exception = work.exception()) std::rethrow_exception(exception);
  }

  void launch() { works_.push_back(all_reduce(backend_, buckets_[works_.size()], c10d::ReduceOp::SUM)); }

  BackendRef backend_;
  std::vector<at::Tensor> buckets_;
  std::vector<size_t> num_leaves_;
  std::vector<size_t> missing_;
  std::vector<WorkRef> works_;
  std::exception_ptr failure_;
  std::mutex mutex_;
  bool armed_ = false;
  bool aborted_ = false;
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

// A host that vanishes closes no connection. The system looks for it where nothing is under way (keep-alive), and gives up on what
// it does not acknowledge; a process that only computes is not touched, for its system answers. Gloo and the store have no option for
// it, so it is set on all TCP connections of this process, which are theirs.
static void look_for_vanished_hosts(std::chrono::milliseconds patience) {
  int seconds = std::max<int>(1, static_cast<int>(patience.count() / 1000));
  int on = 1, idle = std::max(1, seconds / 3), every = std::max(1, seconds / 6), count = 4;
  unsigned unacknowledged = static_cast<unsigned>(patience.count());
  std::error_code ignored;
  for (auto& entry : std::filesystem::directory_iterator("/proc/self/fd", ignored)) {
    int fd = std::atoi(entry.path().filename().c_str());
    int protocol = 0;
    socklen_t len = sizeof protocol;
    if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) != 0 || protocol != IPPROTO_TCP) continue;
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof every);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged, sizeof unacknowledged);
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

int cloze_store_set(StoreRef* store, const char* key, const char* text, char** error) {
  TRY(error, (*store)->set(std::string(key), std::string(text)))
}

// Waits until there is one; the caller frees it.
int cloze_store_get(StoreRef* store, const char* key, char** text, char** error) {
  TRY(error, {
    auto bytes = (*store)->get(std::string(key));
    *text = strdup(std::string(bytes.begin(), bytes.end()).c_str());
  })
}

void cloze_store_free(StoreRef* store) { delete store; }

// Where Gloo listens: on the network interface of that name, or, if `is_name` is 0, at a host name or address of this machine's.
int cloze_interface_open(const char* name, int is_name, InterfaceRef** out, char** error) {
  TRY(error, {
    using Gloo = c10d::ProcessGroupGloo;
    *out = new InterfaceRef(is_name ? Gloo::createDeviceForInterface(name) : Gloo::createDeviceForHostname(name));
  })
}

void cloze_interface_free(InterfaceRef* interface) { delete interface; }

// Collectives over TCP between CPUs. The members connect within `connect_ms`; operations wait for a silent peer `timeout_ms`, for one
// whose host does not answer `host_ms`.
int cloze_backend_gloo(StoreRef* store, InterfaceRef* interface, int rank, int world_size, int64_t connect_ms, int64_t timeout_ms,
                       int64_t host_ms, BackendRef** out, char** error) {
  TRY(error, {
    auto options = c10d::ProcessGroupGloo::Options::create(std::chrono::milliseconds(connect_ms));
    options->devices.push_back(*interface);
    options->threads = 2;
    BackendRef group = c10::make_intrusive<c10d::ProcessGroupGloo>(*store, rank, world_size, options);
    group->setTimeout(std::chrono::milliseconds(timeout_ms));
    look_for_vanished_hosts(std::chrono::milliseconds(host_ms));
    *out = new BackendRef(std::move(group));
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

int cloze_reducer_finish(ReducerRef* reducer, char** error) { TRY(error, (*reducer)->finish()) }

int cloze_reducer_wait(ReducerRef* reducer, int64_t timeout_ms, char** error) {
  TRY(error, (*reducer)->wait(std::chrono::milliseconds(timeout_ms)))
}

int cloze_reducer_abort(ReducerRef* reducer, char** error) { TRY(error, (*reducer)->abort()) }

void cloze_reducer_free(ReducerRef* reducer) { delete reducer; }
}
