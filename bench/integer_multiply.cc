#include "bench/integer_multiply.h"

// AVX3_DL has VNNI.
#define HWY_WANT_AVX3_DL
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/integer_multiply.cc"
#include <hwy/foreach_target.h>
// Highway wants its own header after the one above.
#include <hwy/highway.h>

#include <numeric>
#include <vector>

#include "base/threads.h"
#include "infer/integer_products-inl.h"

LIVEWEIGHT_BEFORE_INTEGER_PRODUCTS();
namespace liveweight::HWY_NAMESPACE {

int32_t multiply_add_integers_on(int64_t count) {
  constexpr int kSums = 12;  // enough to hide the latency of one
  HWY_ALIGN int8_t ones[64];
  for (int8_t& one : ones) one = 1;
  const CodeVector codes = load_codes8(ones);
  Sum sums[kSums];
  for (Sum& sum : sums) sum = zero_sum();
  for (int64_t done = 0; done < count; done += kSums * static_cast<int64_t>(hn::MaxLanes(CodeTag8()))) {
    for (Sum& sum : sums) multiply_add(codes, codes, sum);
  }
  auto total = hn::Zero(SumTag());
  for (const Sum& sum : sums) total = hn::Add(total, total_of(sum));
  return hn::GetLane(hn::SumOfLanes(SumTag(), total));
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
