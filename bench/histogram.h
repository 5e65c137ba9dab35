// How values are spread, in memory that does not grow: for runs of hours.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace liveweight::bench {

// Counts values from 1 to 2^40 in buckets that are 1/32 of their value wide, or narrower. Not thread-safe.
class Histogram {
 public:
  void add(uint64_t value);
  void add_all(const Histogram& other);

  uint64_t count() const { return count_; }
  uint64_t largest() const { return largest_; }
  // The upper edge of the bucket below or in which that share of the values lies, at most the largest value;
  // 0 where there are none. `share` from 0 to 1.
  uint64_t quantile(double share) const;

 private:
  static constexpr int kSplitBits = 5;  // 32 buckets for each power of two
  static constexpr int kPowers = 40;
  static size_t bucket_of(uint64_t value);
  static uint64_t upper_edge_of(size_t bucket);

  std::array<uint32_t, static_cast<size_t>(kPowers + 1) << kSplitBits> counts_{};
  uint64_t count_ = 0;
  uint64_t largest_ = 0;
};

}  // namespace liveweight::bench
