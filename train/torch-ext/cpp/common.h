// What the C++ files share: errors across the C boundary, threads, and vectors for kernels on the CPU.
#pragma once
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <atomic>
#include <cstdint>
#include <cstring>

#include "try.h"

// A kernel compiled once for each of these instruction sets; the loader takes the best that the machine has.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CLOZE_VECTORIZED __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3", "no-math-errno")))
#else
#define CLOZE_VECTORIZED
#endif
// What kernels are made of. By value across a real call these vectors would have no ABI, so all of it is inlined.
#define CLOZE_INLINE static inline __attribute__((always_inline))

namespace cloze {

// ---- Vectors of 16 lanes; the compiler splits them where registers are narrower.

constexpr int64_t LANES = 16;
typedef float f32v __attribute__((vector_size(64)));
typedef uint32_t u32v __attribute__((vector_size(64)));
typedef int32_t i32v __attribute__((vector_size(64)));

CLOZE_INLINE f32v load(const float* from) {
  f32v v;
  memcpy(&v, from, sizeof v);
  return v;
}
CLOZE_INLINE void store(float* to, f32v v) { memcpy(to, &v, sizeof v); }
CLOZE_INLINE f32v broadcast(float x) { return f32v{} + x; }
CLOZE_INLINE f32v max(f32v a, f32v b) { return a > b ? a : b; }
CLOZE_INLINE f32v min(f32v a, f32v b) { return a < b ? a : b; }
CLOZE_INLINE float sum(f32v v) {
  float total = 0;
  for (int i = 0; i < LANES; i++) total += v[i];
  return total;
}
CLOZE_INLINE float max(f32v v) {
  float most = v[0];
  for (int i = 1; i < LANES; i++) most = v[i] > most ? v[i] : most;
  return most;
}

// Up to 16 values; the other lanes are `fill`.
CLOZE_INLINE f32v load_some(const float* from, int64_t len, float fill) {
  f32v v = broadcast(fill);
  memcpy(&v, from, static_cast<size_t>(len) * sizeof(float));
  return v;
}
CLOZE_INLINE void store_some(float* to, f32v v, int64_t len) { memcpy(to, &v, static_cast<size_t>(len) * sizeof(float)); }

// e^x within 2 units in the last place; 0 comes out as 1e-38. Source of the polynomial: Moshier's Cephes, expf.
CLOZE_INLINE f32v exp(f32v x) {
  x = min(max(x, broadcast(-87.3f)), broadcast(88.3f));
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, which is then in the low bits
  const f32v shifted = x * 1.44269504088896341f + magic;
  const f32v n = shifted - magic;
  const f32v r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  f32v p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const u32v power = (reinterpret_cast<u32v>(shifted) + 127u) << 23;
  return p * reinterpret_cast<f32v>(power);
}

// ---- Dropout by a counter: whether element `index` stays is a hash of the seed and the index, so that the mask costs next to
// nothing, is the same for any number of threads, and is made again in backward instead of kept.

struct Dropout {
  uint32_t low = 0, high = 0, threshold = 0;
  float scale = 1;

  Dropout() = default;
  Dropout(double probability, int64_t seed)
      : low(static_cast<uint32_t>(seed)),
        high(static_cast<uint32_t>(static_cast<uint64_t>(seed) >> 32)),
        threshold(static_cast<uint32_t>(probability * 4294967296.0)),
        scale(static_cast<float>(1.0 / (1.0 - probability))) {}
};

// What elements index .. index + 16 are multiplied with: 0 or the scale. The hash is MurmurHash3's finalizer with half of the
// seed at either end.
CLOZE_INLINE f32v dropout_factor(const Dropout& d, uint32_t index) {
  const u32v lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  u32v h = ((lane + index) * 0x9e3779b1u) ^ d.low;
  h = (h ^ (h >> 16)) * 0x85ebca6bu + d.high;
  h = (h ^ (h >> 13)) * 0xc2b2ae35u;
  h ^= h >> 16;
  return h < (u32v{} + d.threshold) ? f32v{} : broadcast(d.scale);
}

// Where this thread's draws stand: micro-batches that run side by side must not take them from one generator in turns.
inline thread_local uint64_t draws = 0;

// One draw, by SplitMix64 (Steele, Lea and Flood 2014); 0 where nothing is dropped.
inline int64_t draw_seed(double probability) {
  TORCH_CHECK(probability >= 0 && probability < 1, "expected a probability of at least 0 and less than 1");
  if (probability == 0) return 0;
  uint64_t z = draws += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return static_cast<int64_t>(z ^ (z >> 31));
}

// ---- Threads.

// Runs body(item) for 0 .. count, each thread taking the next one that is left; torch's own loops cut the range in equal
// parts, which leaves threads idle when items differ or another program has a core.
template <typename Body>
void for_each(int64_t count, const Body& body) {
  std::atomic<int64_t> next{0};
  at::parallel_for(0, std::min<int64_t>(count, at::get_num_threads()), 1, [&](int64_t, int64_t) {
    for (int64_t item; (item = next.fetch_add(1, std::memory_order_relaxed)) < count;) body(item);
  });
}

// Rows are cut into blocks by this rule alone, never by the number of threads, so that sums over blocks are always the same.
struct Blocks {
  int64_t rows, num_blocks;
  explicit Blocks(int64_t rows) : rows(rows), num_blocks(std::min<int64_t>(64, (rows + 15) / 16)) {}
  int64_t begin(int64_t block) const { return rows * block / num_blocks; }
  int64_t end(int64_t block) const { return begin(block + 1); }
};

}  // namespace cloze
