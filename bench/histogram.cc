#include "bench/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace liveweight::bench {

// Values below 2^kSplitBits have a bucket each; above, the bits under the highest one say which of its
// power's.
size_t Histogram::bucket_of(uint64_t value) {
  constexpr uint64_t kMost = (uint64_t{1} << kPowers) - 1;
  value = std::min(value, kMost);
  const int power = std::max(static_cast<int>(std::bit_width(value)) - kSplitBits - 1, 0);
  return (static_cast<size_t>(power) << kSplitBits) + (value >> power);
}

uint64_t Histogram::upper_edge_of(size_t bucket) {
  const size_t power = std::max<size_t>(bucket >> kSplitBits, 1) - 1;
  const uint64_t first = bucket - (power << kSplitBits);
  return ((first + 1) << power) - 1;
}

void Histogram::add(uint64_t value) {
  ++counts_[bucket_of(value)];
  ++count_;
  largest_ = std::max(largest_, value);
}

void Histogram::add_all(const Histogram& other) {
  for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
  count_ += other.count_;
  largest_ = std::max(largest_, other.largest_);
}

uint64_t Histogram::quantile(double share) const {
  const auto wanted = static_cast<uint64_t>(std::ceil(share * static_cast<double>(count_)));
  uint64_t below = 0;
  for (size_t i = 0; i < counts_.size(); ++i) {
    below += counts_[i];
    if (below >= std::max<uint64_t>(wanted, 1)) return std::min(upper_edge_of(i), largest_);
  }
  return 0;
}

}  // namespace liveweight::bench
