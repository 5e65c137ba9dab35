#include "bench/limits_bench.h"

#include <gtest/gtest.h>

#include "bench/quantize_bench.h"

namespace liveweight::bench {
namespace {

TEST(Limits, AreOfReadingAndOfWritingWithBothKindsOfStores) {
  const auto limits = measure_limits(uint64_t{1} << 20, 1).value();
  std::vector<std::string> names;
  for (const LimitFigures& f : limits) {
    names.push_back(f.loop + " " + f.stores);
    EXPECT_GT(f.one_thread_gb_per_s, 0) << f.loop;
    EXPECT_GT(f.all_threads_gb_per_s, 0) << f.loop;
  }
  EXPECT_EQ(names, (std::vector<std::string>{"read ", "mapped file ", "2 to 1 non-temporal", "2 to 1 regular",
                                             "copy non-temporal", "copy regular"}));
}

TEST(QuantizerFigures, AreOfAsManyBytesAsTheSchemeReadsAndWrites) {
  const auto f = measure_quantize("int8_per_channel", DType::kF32, 1).value();
  EXPECT_EQ(f.source_bytes, uint64_t{16384} * 4096 * 4);
  EXPECT_GE(f.live_bytes, uint64_t{16384} * 4096 + 16384 * 4);
  EXPECT_GT(f.share, 0);
  EXPECT_EQ(measure_quantize("int9", DType::kBF16, 1).error().code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace liveweight::bench
