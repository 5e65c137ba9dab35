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

#include "quantize/encode-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

// What is added to eight times the biased exponent of an element: by mantissa.
struct MantissaTable {
  alignas(64) int16_t steps[128];
};

// Where all products and quotients with elements that matter are normal numbers.
HWY_INLINE bool suits_table(float factor) {
  return factor >= 0x1p-100f && factor <= 0x1p100f;
}

// Defined where there are instructions for it.
template <class ToCodeSpace>
void fill_table(const ToCodeSpace& to_code_space, MantissaTable& table);
template <class S>
class TableCodes;

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL

inline constexpr bool kHasMantissaTables = true;

// `to_code_space` gives the number to be rounded, for a vector of elements from 1 to 2.
template <class ToCodeSpace>
HWY_INLINE void fill_table(const ToCodeSpace& to_code_space, MantissaTable& table) {
  const WordTag d;
  constexpr int kBias = (127 + 127 - 7) * 8;
  for (int64_t m = 0; m < 128; m += kLanes) {
    const auto element =
        hn::Add(hn::ShiftLeft<16>(hn::Iota(d, static_cast<uint32_t>(m))), hn::Set(d, uint32_t{127} << 23));
    const auto bits = hn::BitCast(d, to_code_space(hn::BitCast(FloatTag(), element)));
    const auto odd = hn::And(hn::ShiftRight<20>(bits), hn::Set(d, 1u));
    const auto code = hn::ShiftRight<20>(hn::Add(hn::Add(bits, hn::Set(d, 0x7ffffu)), odd));
    const auto steps = hn::Sub(hn::BitCast(IntTag(), code), hn::Set(IntTag(), kBias));
    const hn::Rebind<int16_t, IntTag> half;
    hn::StoreU(hn::DemoteTo(half, steps), half, table.steps + m);
  }
}

// 64 codes at a time.
template <>
class TableCodes<BF16Source> {
 public:
  explicit HWY_INLINE TableCodes(const MantissaTable& table) {
    for (int i = 0; i < 4; ++i) quarter_[i] = _mm512_load_si512(table.steps + 32 * i);
  }

  // False, and nothing is stored, where one of the 64 elements is too small.
  HWY_INLINE bool store(const int16_t* from, uint8_t* to, bool stream) const {
    __m512i low, high;
    const bool all = codes(from, low) & codes(from + 32, high);
    if (!all) return false;
    const __m512i bytes =
        _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi16_epi8(low)), _mm512_cvtepi16_epi8(high), 1);
    if (stream) {
      _mm512_stream_si512(reinterpret_cast<__m512i*>(to), bytes);
    } else {
      _mm512_storeu_si512(to, bytes);
    }
    return true;
  }

 private:
  HWY_INLINE bool codes(const int16_t* from, __m512i& out) const {
    const __m512i bits = _mm512_loadu_si512(from);
    const __m512i lower = _mm512_permutex2var_epi16(quarter_[0], bits, quarter_[1]);
    const __m512i upper = _mm512_permutex2var_epi16(quarter_[2], bits, quarter_[3]);
    const __mmask32 in_upper = _mm512_test_epi16_mask(bits, _mm512_set1_epi16(0x40));
    const __m512i steps = _mm512_mask_blend_epi16(in_upper, lower, upper);
    const __m512i exponent = _mm512_srli_epi16(_mm512_and_si512(bits, _mm512_set1_epi16(0x7f80)), 4);
    const __m512i code = _mm512_add_epi16(steps, exponent);
    const __m512i sign = _mm512_and_si512(_mm512_srli_epi16(bits, 8), _mm512_set1_epi16(0x80));
    out = _mm512_or_si512(_mm512_min_epi16(code, _mm512_set1_epi16(kLargest)), sign);
    return _mm512_cmplt_epi16_mask(code, _mm512_set1_epi16(kSmallestNormal)) == 0;
  }

  static constexpr int16_t kSmallestNormal = 8, kLargest = 0x7e;
  __m512i quarter_[4];
};

#else

inline constexpr bool kHasMantissaTables = false;

#endif

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
