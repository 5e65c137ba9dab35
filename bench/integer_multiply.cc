#include "bench/integer_multiply.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/integer_multiply.cc"
#include <hwy/foreach_target.h>
// Highway wants its own header after the one above.
#include <hwy/highway.h>

#include <numeric>
#include <vector>

#include "base/threads.h"
#include "infer/integer_products-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight::HWY_NAMESPACE {

template <typename Products>
HWY_INLINE int32_t multiply_add(int64_t count) {
  constexpr int kSums = 12;  // enough to hide the latency of one
  HWY_ALIGN int8_t ones[64];
  for (int8_t& one : ones) one = 1;
  const auto codes = Products::load(ones);
  typename Products::Sum sums[kSums];
  for (auto& sum : sums) sum = Products::sum_from(hn::Zero(SumTag()));
  constexpr auto kStep = static_cast<int64_t>(hn::MaxLanes(typename Products::CodeTag()));
  for (int64_t done = 0; done < count; done += kSums * kStep) {
    for (auto& sum : sums) Products::add(codes, codes, sum);
  }
  auto total = hn::Zero(SumTag());
  for (const auto& sum : sums) total = hn::Add(total, Products::total_of(sum));
  return hn::GetLane(hn::SumOfLanes(SumTag(), total));
}

int32_t multiply_add_integers_on(int64_t count) {
  int32_t result = 0;
  with_products(supports_vnni(),
                [&](auto products) HWY_ATTR { result = multiply_add<decltype(products)>(count); });
  return result;
}

}  // namespace liveweight::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace liveweight {
HWY_EXPORT(multiply_add_integers_on);
namespace bench {

int32_t multiply_add_integers(int64_t count) {
  constexpr int64_t kParts = 64;
  std::vector<int32_t> results(kParts);
  ThreadPool::shared().parallel_for(kParts, [&](int64_t i) {
    results[i] = HWY_DYNAMIC_DISPATCH(multiply_add_integers_on)(count / kParts);
  });
  return std::accumulate(results.begin(), results.end(), 0);
}

}  // namespace bench
}  // namespace liveweight
#endif
