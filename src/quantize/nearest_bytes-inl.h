// Vectors of numbers rounded to integers of eight bits. Included once for each instruction set, as Highway
// wants it.
#if defined(LIVEWEIGHT_QUANTIZE_NEAREST_BYTES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_NEAREST_BYTES_INL_H_
#undef LIVEWEIGHT_QUANTIZE_NEAREST_BYTES_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_NEAREST_BYTES_INL_H_
#endif

#include "quantize/source-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

using WordVector = hn::Vec<WordTag>;
using HalfTag = hn::Repartition<uint16_t, WordTag>;
using ByteTag = hn::Repartition<uint8_t, WordTag>;
using SignedByteTag = hn::RebindToSigned<ByteTag>;

// The low bytes of four vectors, in order.
HWY_INLINE hn::Vec<ByteTag> low_bytes(WordVector a, WordVector b, WordVector c, WordVector d) {
  const HalfTag half;
  const auto low = hn::ConcatEven(half, hn::BitCast(half, b), hn::BitCast(half, a));
  const auto high = hn::ConcatEven(half, hn::BitCast(half, d), hn::BitCast(half, c));
  return hn::ConcatEven(ByteTag(), hn::BitCast(ByteTag(), high), hn::BitCast(ByteTag(), low));
}

// The dwords of 16-byte blocks, the first ones of all blocks, then the second ones and so on.
HWY_INLINE WordVector dwords_of_blocks(WordVector v) {
  struct Order {
    alignas(64) int32_t lanes[kLanes] = {};
    constexpr Order() {
      for (int64_t i = 0; i < kLanes; ++i)
        lanes[i] = static_cast<int32_t>(i % (kLanes / 4) * 4 + i / (kLanes / 4));
    }
  };
  static constexpr Order kOrder;
  return hn::TableLookupLanes(v, hn::SetTableIndices(WordTag(), kOrder.lanes));
}

// From the first bytes of all 32-bit lanes to their fourth ones.
HWY_INLINE hn::Vec<ByteTag> transposed(hn::Vec<ByteTag> v) {
  alignas(16) static constexpr uint8_t kOrder[16] = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
  const auto blocks = hn::TableLookupBytes(v, hn::LoadDup128(ByteTag(), kOrder));
  return hn::BitCast(ByteTag(), dwords_of_blocks(hn::BitCast(WordTag(), blocks)));
}

// Nearest even comes from adding this, whose last place is one: the code is in the low bits.
inline constexpr float kRounding = 0x1.8p23f;

// Four vectors of numbers below 2^31, rounded to nearest even and clamped to -128 and 127, in order. The
// conversions and packings of x86 do both by themselves.
HWY_INLINE hn::Vec<SignedByteTag> nearest_bytes(FloatVector a, FloatVector b, FloatVector c, FloatVector d) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  const __m512i low = _mm512_packs_epi32(_mm512_cvtps_epi32(a.raw), _mm512_cvtps_epi32(b.raw));
  const __m512i high = _mm512_packs_epi32(_mm512_cvtps_epi32(c.raw), _mm512_cvtps_epi32(d.raw));
  const WordVector packed{_mm512_packs_epi16(low, high)};
  return hn::BitCast(SignedByteTag(), dwords_of_blocks(packed));
#elif HWY_TARGET == HWY_AVX2
  const __m256i low = _mm256_packs_epi32(_mm256_cvtps_epi32(a.raw), _mm256_cvtps_epi32(b.raw));
  const __m256i high = _mm256_packs_epi32(_mm256_cvtps_epi32(c.raw), _mm256_cvtps_epi32(d.raw));
  const WordVector packed{_mm256_packs_epi16(low, high)};
  return hn::BitCast(SignedByteTag(), dwords_of_blocks(packed));
#else
  const auto word = [](FloatVector x) HWY_ATTR {
    const FloatTag f;
    const FloatVector clamped = hn::Min(hn::Max(x, hn::Set(f, -128.0f)), hn::Set(f, 127.0f));
    return hn::BitCast(WordTag(), hn::Add(clamped, hn::Set(f, kRounding)));
  };
  return hn::BitCast(SignedByteTag(), low_bytes(word(a), word(b), word(c), word(d)));
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
