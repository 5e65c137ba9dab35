// The instruction sets of quantize_cpu.cc.
#define HWY_WANT_AVX3_DL
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quantize/unpack_int4.cc"
#include <hwy/foreach_target.h>
// Highway wants its own header after the one above.
#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "quantize/unpack_int4.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// How many codes of one row were unpacked: whole vectors of them.
int64_t unpack_vectors(const uint8_t* from, int64_t count, int8_t* to) {
  const hn::ScalableTag<int8_t> codes;
  const hn::RepartitionToWide<hn::RebindToUnsigned<decltype(codes)>> pairs;
  const hn::Rebind<uint8_t, decltype(pairs)> bytes;
  const auto step = static_cast<int64_t>(hn::Lanes(codes));
  if (step == 1) return 0;  // no room for both codes of a byte
  const bool stream = reinterpret_cast<uintptr_t>(to) % 64 == 0;
  int64_t i = 0;
  for (; i + step <= count; i += step) {
    const auto pair = hn::PromoteTo(pairs, hn::LoadU(bytes, from + i / 2));
    const auto spread = hn::And(hn::Or(pair, hn::ShiftLeft<4>(pair)), hn::Set(pairs, 0x0f0f));
    const auto code = hn::Sub(hn::BitCast(codes, spread), hn::Set(codes, 8));
    if (stream) {
      hn::Stream(code, codes, to + i);
    } else {
      hn::StoreU(code, codes, to + i);
    }
  }
  return i;
}

void unpack_int4_on(const Int4Rows& codes, std::byte* to) {
  for (int64_t row = 0; row < codes.rows; ++row) {
    const std::byte* from = codes.data + row * codes.row_bytes;
    std::byte* row_to = to + row * codes.cols;
    const int64_t done =
        unpack_vectors(reinterpret_cast<const uint8_t*>(from), codes.cols, reinterpret_cast<int8_t*>(row_to));
    unpack_int4_reference({from + done / 2, 1, codes.cols - done, 0}, row_to + done);
  }
  hwy::FlushStream();
}

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace liveweight {

HWY_EXPORT(unpack_int4_on);

void unpack_int4(const Int4Rows& codes, std::byte* to) {
  HWY_DYNAMIC_DISPATCH(unpack_int4_on)(codes, to);
}

void unpack_int4_reference(const Int4Rows& codes, std::byte* to) {
  for (int64_t row = 0; row < codes.rows; ++row) {
    const std::byte* from = codes.data + row * codes.row_bytes;
    for (int64_t col = 0; col < codes.cols; ++col) {
      const int nibble = std::to_integer<int>(from[col / 2]) >> (col % 2 * 4) & 15;
      to[row * codes.cols + col] = static_cast<std::byte>(nibble - 8);
    }
  }
}

}  // namespace liveweight
#endif
