// e4m3 codes of bf16 elements by a table of their seven mantissa bits. An exponent moves a product or
// quotient by a power of two, which is exact, and its code by eight; so one unit's 128 mantissas, encoded
// once by the arithmetic of encode-inl.h, are the codes of all its elements but those that come out below
// 2^-6. Included once for each instruction set, as Highway wants it.
#if defined(LIVEWEIGHT_QUANTIZE_MANTISSA_TABLE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_MANTISSA_TABLE_INL_H_
#undef LIVEWEIGHT_QUANTIZE_MANTISSA_TABLE_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_MANTISSA_TABLE_INL_H_
#endif

#include <bit>
#include <cstddef>

#include "quantize/encode-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

// By mantissa, what is added to eight times the biased exponent of an element: its low byte.
struct MantissaTable {
#if HWY_TARGET == HWY_AVX3_DL
  using Step = uint8_t;
#else
  using Step = uint16_t;
#endif
  alignas(64) Step steps[128];
  int16_t least;  // bits of a magnitude from which on no code is below 2^-6
};

// Where all products and quotients with elements that matter are normal numbers.
HWY_INLINE bool suits_table(float factor) {
  return factor >= 0x1p-100f && factor <= 0x1p100f;
}

// Defined where there are instructions for it.
template <class ToCodeSpace>
void fill_table(const ToCodeSpace& to_code_space, float smallest_normal, MantissaTable& table);
template <class S>
class TableCodes;

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL

inline constexpr bool kHasMantissaTables = true;

// Stored as the vectors that are loaded again: what is loaded from several stores waits until all stores
// before them, those past the caches among them, have left the processor.
template <class StepsOf>
HWY_INLINE void store_steps(const StepsOf& steps_of, MantissaTable& table) {
#if HWY_TARGET == HWY_AVX3_DL
  for (uint32_t m = 0; m < 128; m += 64) {
    hn::Store(low_bytes(steps_of(m), steps_of(m + 16), steps_of(m + 32), steps_of(m + 48)), ByteTag(),
              table.steps + m);
  }
#else
  const HalfTag half;
  for (uint32_t m = 0; m < 128; m += 32) {
    const auto low = hn::BitCast(half, steps_of(m)), high = hn::BitCast(half, steps_of(m + 16));
    hn::Store(hn::And(hn::ConcatEven(half, high, low), hn::Set(half, 0xff)), half, table.steps + m);
  }
#endif
}

// `to_code_space` gives the number to be rounded, for a vector of elements from 1 to 2; `smallest_normal` is
// about the element for which that is 2^-6.
template <class ToCodeSpace>
HWY_INLINE void fill_table(const ToCodeSpace& to_code_space, float smallest_normal, MantissaTable& table) {
  const WordTag d;
  constexpr uint32_t kBias = (127 + 127 - 7) * 8;
  store_steps(
      [&](uint32_t first) HWY_ATTR {
        const auto element = hn::Add(hn::ShiftLeft<16>(hn::Iota(d, first)), hn::Set(d, uint32_t{127} << 23));
        const auto bits = hn::BitCast(d, to_code_space(hn::BitCast(FloatTag(), element)));
        const auto odd = hn::And(hn::ShiftRight<20>(bits), hn::Set(d, 1u));
        const auto code = hn::ShiftRight<20>(hn::Add(hn::Add(bits, hn::Set(d, 0x7ffffu)), odd));
        return hn::Sub(code, hn::Set(d, kBias));
      },
      table);
  table.least = static_cast<int16_t>((std::bit_cast<uint32_t>(smallest_normal) >> 16) + 1);
}

// kStep codes at a time. No code exceeds 448: a scale is at most half a step of its dtype less than the
// largest magnitude's 448th part.
template <>
class TableCodes<BF16Source> {
 public:
  static constexpr int64_t kStep = 64;

  explicit HWY_INLINE TableCodes(const MantissaTable& table)
      : doubled_least_(_mm512_set1_epi16(static_cast<int16_t>(2 * table.least))) {
    for (int i = 0; i < kVectors; ++i) {
      table_[i] = _mm512_load_si512(reinterpret_cast<const std::byte*>(table.steps) + 64 * i);
    }
  }

  // False, and nothing is stored, where one of the 64 elements is too small.
  HWY_INLINE bool store(const int16_t* from, uint8_t* to, bool stream) const {
    const __m512i low = _mm512_loadu_si512(from), high = _mm512_loadu_si512(from + 32);
    const __m512i doubled = _mm512_min_epu16(_mm512_add_epi16(low, low), _mm512_add_epi16(high, high));
    if (_mm512_cmplt_epu16_mask(doubled, doubled_least_)) return false;
    const __m512i exponents = _mm512_packus_epi16(sign_and_exponent(low), sign_and_exponent(high));
    const __m512i sums = _mm512_add_epi8(steps(low, high), exponents);
    const __m512i packed = either(_mm512_set1_epi8(-128), exponents, sums);
    const __m512i bytes = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), packed);
    if (stream) {
      _mm512_stream_si512(reinterpret_cast<__m512i*>(to), bytes);
    } else {
      _mm512_storeu_si512(to, bytes);
    }
    return true;
  }

 private:
  // Bits of `a` where the mask has ones, else of `b`.
  static HWY_INLINE __m512i either(__m512i mask, __m512i a, __m512i b) {
    return _mm512_ternarylogic_epi32(mask, a, b, 0xca);
  }

  // The sign where a code has it, and eight times the exponent as far as it fits below.
  static HWY_INLINE __m512i sign_and_exponent(__m512i bits) {
    const __m512i both =
        either(_mm512_set1_epi16(0x80), _mm512_srli_epi16(bits, 8), _mm512_srli_epi16(bits, 4));
    return _mm512_and_si512(both, _mm512_set1_epi16(0xf8));
  }

#if HWY_TARGET == HWY_AVX3_DL
  // In the order that packing gives, as are the exponents.
  HWY_INLINE __m512i steps(__m512i low, __m512i high) const {
    const __m512i byte = _mm512_set1_epi16(0xff);
    const __m512i mantissas = _mm512_packus_epi16(_mm512_and_si512(low, byte), _mm512_and_si512(high, byte));
    return _mm512_permutex2var_epi8(table_[0], mantissas, table_[1]);
  }

  static constexpr int kVectors = 2;
#else
  HWY_INLINE __m512i steps(__m512i low, __m512i high) const {
    return _mm512_packus_epi16(steps_of(low), steps_of(high));
  }

  HWY_INLINE __m512i steps_of(__m512i bits) const {
    const __m512i lower = _mm512_permutex2var_epi16(table_[0], bits, table_[1]);
    const __m512i upper = _mm512_permutex2var_epi16(table_[2], bits, table_[3]);
    return _mm512_mask_blend_epi16(_mm512_test_epi16_mask(bits, _mm512_set1_epi16(0x40)), lower, upper);
  }

  static constexpr int kVectors = 4;
#endif

  const __m512i doubled_least_;
  __m512i table_[kVectors];
};

#else

inline constexpr bool kHasMantissaTables = false;

#endif

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
