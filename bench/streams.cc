#include "bench/streams.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/streams.cc"
#include <hwy/foreach_target.h>
// Highway wants its own header after the one above.
#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <vector>

#include "base/threads.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight::bench {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Writes as it reads, a line whenever its share of the source has been read.
uint64_t stream_part_on(const std::byte* source, uint64_t source_bytes, std::byte* target,
                        uint64_t target_bytes, bool non_temporal) {
  const hn::CappedTag<uint64_t, 8> d;
  const uint64_t step = hn::Lanes(d) * sizeof(uint64_t);
  auto first = hn::Zero(d), second = hn::Zero(d);
  uint64_t written = 0;
  for (uint64_t at = 0; at + 128 <= source_bytes; at += 128) {
    for (uint64_t i = 0; i < 128; i += 2 * step) {
      first = hn::Xor(first, hn::LoadU(d, reinterpret_cast<const uint64_t*>(source + at + i)));
      second = hn::Xor(second, hn::LoadU(d, reinterpret_cast<const uint64_t*>(source + at + i + step)));
    }
    const uint64_t due = std::min(target_bytes, (at + 128) * target_bytes / source_bytes);
    for (; written + 64 <= due; written += 64) {
      for (uint64_t i = 0; i < 64; i += step) {
        auto* to = reinterpret_cast<uint64_t*>(target + written + i);
        if (non_temporal) {
          hn::Stream(first, d, to);
        } else {
          hn::Store(first, d, to);
        }
      }
    }
  }
  if (non_temporal) hwy::FlushStream();
  return hn::GetLane(hn::Xor(first, second)) + written;
}

float multiply_add_on(int64_t count) {
  const hn::CappedTag<float, 16> d;
  constexpr int64_t kSums = 12;  // enough to hide the latency of one
  hn::Vec<decltype(d)> sums[kSums];
  for (auto& sum : sums) sum = hn::Set(d, 1.0f);
  const auto factor = hn::Set(d, 0.5f);
  for (int64_t done = 0; done < count; done += kSums * static_cast<int64_t>(hn::Lanes(d))) {
    for (auto& sum : sums) sum = hn::MulAdd(sum, factor, factor);
  }
  auto total = hn::Zero(d);
  for (const auto& sum : sums) total = hn::Add(total, sum);
  return hn::GetLane(hn::SumOfLanes(d, total));
}

}  // namespace HWY_NAMESPACE
}  // namespace liveweight::bench
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace liveweight::bench {

HWY_EXPORT(stream_part_on);
HWY_EXPORT(multiply_add_on);

uint64_t stream(const std::byte* source, uint64_t source_bytes, std::byte* target, uint64_t target_bytes,
                StreamOptions options) {
  constexpr uint64_t kPart = 512 << 10;
  const auto parts = static_cast<int64_t>((source_bytes + kPart - 1) / kPart);
  const uint64_t target_part = target_bytes / static_cast<uint64_t>(parts) / 64 * 64;
  std::atomic<uint64_t> result{0};
  const auto run = [&](int64_t i) {
    const uint64_t begin = static_cast<uint64_t>(i) * kPart;
    result += HWY_DYNAMIC_DISPATCH(stream_part_on)(source + begin, std::min(kPart, source_bytes - begin),
                                                   target + static_cast<uint64_t>(i) * target_part,
                                                   target_part, options.stores == Stores::kNonTemporal);
  };
  if (options.one_thread) {
    for (int64_t i = 0; i < parts; ++i) run(i);
  } else {
    ThreadPool::shared().parallel_for(parts, run);
  }
  return result;
}

float multiply_add(int64_t count) {
  ThreadPool& pool = ThreadPool::shared();
  constexpr int64_t kParts = 64;
  std::vector<float> results(kParts);
  pool.parallel_for(kParts,
                    [&](int64_t i) { results[i] = HWY_DYNAMIC_DISPATCH(multiply_add_on)(count / kParts); });
  return std::accumulate(results.begin(), results.end(), 0.0f);
}

}  // namespace liveweight::bench
#endif
