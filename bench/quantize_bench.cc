#include "bench/quantize_bench.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "base/memory.h"
#include "base/threads.h"
#include "bench/rounds.h"
#include "bench/streams.h"
#include "quantize/quantize.h"
#include "tensor/codec.h"

namespace liveweight::bench {
namespace {

constexpr int64_t kRows = 16384, kCols = 4096, kBoxRows = 128;

// Normally distributed, a drawn stretch again and again.
void fill(const Buffer& buffer, DType dtype) {
  constexpr int64_t kDrawn = 1 << 20;
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<std::byte> drawn(static_cast<size_t>(kDrawn * bits_of(dtype) / 8));
  for (int64_t i = 0; i < kDrawn; ++i) store_high_precision(dtype, drawn.data(), i, normal(random));
  for (uint64_t at = 0; at < buffer.size(); at += drawn.size()) {
    std::memcpy(buffer.data() + at, drawn.data(), std::min<uint64_t>(drawn.size(), buffer.size() - at));
  }
}

class Matrix {
 public:
  Matrix(const KernelFormat& format, const Buffer& source, const Buffer& slot)
      : region_{&format, slot.data(), 0, format.segments.front()}, source_(source.data()) {}

  void quantize() const {
    TensorUnit unit;
    if (region_.format->scheme.granularity == Granularity::kTensor) unit.amax = maximum();
    ThreadPool::shared().parallel_for(kRows / kBoxRows,
                                      [&](int64_t i) { quantize_box(box(i), region_, unit); });
  }

 private:
  SourceBox box(int64_t i) const {
    const DType dtype = region_.format->source_dtype;
    return {dtype, source_ + i * kBoxRows * kCols * bits_of(dtype) / 8, kCols, i * kBoxRows, kBoxRows, 0,
            kCols};
  }

  float maximum() const {
    std::vector<float> maxima(kRows / kBoxRows);
    ThreadPool::shared().parallel_for(
        kRows / kBoxRows, [&](int64_t i) { maxima[static_cast<size_t>(i)] = absolute_maximum(box(i)).amax; });
    return *std::max_element(maxima.begin(), maxima.end());
  }

  const SlotRegion region_;
  const std::byte* source_;
};

}  // namespace

Result<QuantizeFigures> measure_quantize(const std::string& scheme, DType source_dtype, int rounds) {
  LW_ASSIGN(const Scheme parsed, parse_scheme(scheme));
  const KernelFormat format =
      make_kernel_format(parsed, source_dtype, {1, kCols, 0, kCols, {{0, kRows, 0, 0}}});
  QuantizeFigures figures{scheme, source_dtype};
  figures.source_bytes = static_cast<uint64_t>(kRows * kCols * bits_of(source_dtype) / 8);
  figures.live_bytes = format.bytes;
  LW_ASSIGN(const Buffer source, Buffer::allocate(figures.source_bytes));
  LW_ASSIGN(const Buffer slot, Buffer::allocate(format.bytes));
  fill(source, source_dtype);
  const Matrix matrix(format, source, slot);
  std::vector<double> limits, ours;
  for (int round = 0; round < rounds; ++round) {
    limits.push_back(
        seconds_of([&] { stream(source.data(), source.size(), slot.data(), slot.size() / 64 * 64); }));
    ours.push_back(seconds_of([&] { matrix.quantize(); }));
  }
  figures.seconds = median(ours);
  figures.limit_seconds = median(limits);
  figures.share = share_of(limits, ours);
  return figures;
}

}  // namespace liveweight::bench
