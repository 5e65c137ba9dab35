// Interleaved rounds: each round runs every contestant once, so that what the machine does meanwhile befalls
// all of them. Figures are medians, and ratios are medians of the rounds' own ratios.
#pragma once

#include <algorithm>
#include <chrono>
#include <vector>

namespace liveweight::bench {

inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const size_t middle = values.size() / 2;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(middle), values.end());
  return values[middle];
}

// Seconds of one call.
template <typename Function>
double seconds_of(Function&& function) {
  const auto begin = std::chrono::steady_clock::now();
  function();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// The median of limit[i] / subject[i]: the share of the limit's speed that the subject reaches.
inline double share_of(const std::vector<double>& limit, const std::vector<double>& subject) {
  std::vector<double> shares;
  for (size_t i = 0; i < subject.size(); ++i) {
    if (subject[i] > 0) shares.push_back(limit[i] / subject[i]);
  }
  return median(std::move(shares));
}

}  // namespace liveweight::bench
