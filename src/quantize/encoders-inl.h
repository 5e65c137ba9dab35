// The encoders of a pair of element and encoding, chosen once a box. Included once for each instruction set,
// as Highway wants it.
#if defined(LIVEWEIGHT_QUANTIZE_ENCODERS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_ENCODERS_INL_H_
#undef LIVEWEIGHT_QUANTIZE_ENCODERS_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_ENCODERS_INL_H_
#endif

#include <algorithm>
#include <type_traits>

#include "quantize/e4m3_codes-inl.h"
#include "quantize/encode-inl.h"
#include "quantize/group_codes-inl.h"
#include "quantize/mantissa_table-inl.h"
#include "quantize/offset_codes-inl.h"
#include "quantize/unit_scale-inl.h"
#include "quantize/untied_codes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

// A unit as its elements are encoded: by its factors, or in the shorter way that `prepare` found for it. Not
// cleared: a box has room for kBatch of them, 24 KB, and often uses one.
struct UnitCoder {
  Factors factors;
  bool short_way;
  MantissaTable table;  // of what has tables
  float multiplier;     // of what has UntiedCodes
};

// Looks for a shorter way where a unit of so many elements is worth it.
using PrepareUnit = void (*)(UnitCoder& unit, int64_t elements);

// Units side by side, `unit_cols` columns each, all but the first `skipped` of the first one.
struct Strip {
  const void* from;
  int64_t stride;  // elements from row to row
  uint8_t* to;
  int64_t to_stride;  // bytes
  int64_t rows, cols;
  int64_t unit_cols, skipped;
};

// `ahead`: how many bytes behind each element lies what is wanted in the cache soon.
using EncodeStrip = void (*)(const Strip& strip, const UnitCoder* units, int64_t ahead);

// `groups` units of `size` elements side by side in one row, `size` a multiple of kLanes; factors of the
// batch, and what `range` says of all of them.
using EncodeGroups = void (*)(const void* from, int64_t groups, int64_t size, const UnitBatch& batch,
                              const Factors& range, uint8_t* to, int64_t ahead);

struct Encoders {
  PrepareUnit prepare = nullptr;
  EncodeStrip strip = nullptr;  // null for a pair of element and encoding that no profile has
  EncodeGroups groups = nullptr;
};

template <class S, class Codes>
inline constexpr bool kTabled =
    kHasMantissaTables&& std::is_same_v<S, BF16Source>&& std::is_same_v<Codes, E4M3Codes>;

template <class S, class Codes, Encoding kEncoding>
inline constexpr bool kUntied =
    !kTabled<S, Codes> && std::is_same_v<Codes, E4M3Codes> && sizeof(typename S::Bits) == 2 &&
    (kEncoding == Encoding::kDivide || kEncoding == Encoding::kMultiply);

template <class S, class Codes, Encoding kEncoding, bool kZeroPoint>
void prepare_unit(UnitCoder& unit, int64_t elements) {
  constexpr int64_t kWorth = 1024;
  constexpr bool kMultiplies = kEncoding == Encoding::kMultiply;
  const float factor = unit.factors.factor;
  unit.short_way = false;
  if (elements < kWorth) return;
  const Encoder<S, Codes, kEncoding, kZeroPoint> encoder(unit.factors);
  const auto to_code_space = [&](FloatVector x) HWY_ATTR { return encoder.code_space(x); };
  if constexpr (kTabled<S, Codes>) {
    if (!suits_table(factor)) return;
    fill_table(to_code_space, kMultiplies ? 0x1p-6f / factor : 0x1p-6f * factor, unit.table);
    unit.short_way = true;
  } else if constexpr (kUntied<S, Codes, kEncoding>) {
    unit.multiplier = kMultiplies ? factor : unit.factors.reciprocal;
    unit.short_way = keeps_off_ties<S>(to_code_space, unit.multiplier);
  }
}

// Codes of as much as there are whole steps, and how much that is.
template <class S, class ShortWay, class WholeWay>
HWY_INLINE int64_t encode_steps(const ShortWay& codes, const WholeWay& encoder, const typename S::Bits* from,
                                int64_t count, uint8_t* to, int64_t ahead) {
  constexpr int64_t kStep = ShortWay::kStep;
  const bool stream = reinterpret_cast<uintptr_t>(to) % 64 == 0, second_level = kFetchesIntoSecondLevel;
  int64_t done = 0;
  for (; done + kStep <= count; done += kStep) {
    encoder.prefetch(from + done, ahead, second_level);
    if (!codes.store(from + done, to + done, stream)) encoder.run(from + done, kStep, to + done, 0);
  }
  return done;
}

// Elements of one unit in one row.
template <class S, class Codes, Encoding kEncoding, bool kZeroPoint>
HWY_INLINE void encode_run(const typename S::Bits* from, int64_t count, const UnitCoder& unit, uint8_t* to,
                           int64_t ahead) {
  const Encoder<S, Codes, kEncoding, kZeroPoint> encoder(unit.factors);
  int64_t done = 0;
  if constexpr (kTabled<S, Codes>) {
    if (unit.short_way) done = encode_steps<S>(TableCodes<S>(unit.table), encoder, from, count, to, ahead);
  } else if constexpr (kUntied<S, Codes, kEncoding>) {
    if (unit.short_way) {
      done = encode_steps<S>(UntiedCodes<S>(unit.multiplier), encoder, from, count, to, ahead);
    }
  }
  if (done == count) return;
  encoder.run(from + done, count - done, to + done * Codes::kBits / 8, ahead);
}

template <class S, class Codes, Encoding kEncoding, bool kZeroPoint>
void encode_strip(const Strip& strip, const UnitCoder* units, int64_t ahead) {
  using UnitEncoder = Encoder<S, Codes, kEncoding, kZeroPoint>;
  // To the next row, which the processor does not foresee where rows are short and far apart.
  const int64_t next_row = strip.stride * static_cast<int64_t>(sizeof(typename S::Bits));
  const UnitCoder* unit = units;
  for (int64_t col = 0, end = strip.unit_cols - strip.skipped; col < strip.cols;
       col = end, end += strip.unit_cols, ++unit) {
    const auto* from = static_cast<const typename S::Bits*>(strip.from) + col;
    uint8_t* to = strip.to + col * Codes::kBits / 8;
    const int64_t cols = std::min(end, strip.cols) - col;
    for (int64_t row = 0; row < strip.rows; ++row, from += strip.stride, to += strip.to_stride) {
      for (int64_t i = 0; strip.rows > 1 && i < cols; i += 4 * kLanes)
        UnitEncoder::prefetch(from + i, next_row, false);
      encode_run<S, Codes, kEncoding, kZeroPoint>(from, cols, *unit, to, ahead);
    }
  }
}

template <class S, class Codes, Encoding kEncoding, bool kZeroPoint>
inline constexpr bool kPaired = sizeof(typename S::Bits) == 2 &&
                                std::is_same_v<Codes, Int4Codes<8>>&& kEncoding == Encoding::kDivideRounded &&
                                !kZeroPoint;

template <class S, class Codes, Encoding kEncoding>
inline constexpr bool kOffset =
    std::is_same_v<S, BF16Source>&& std::is_same_v<Codes, Int4Codes<0>>&& kEncoding ==
    Encoding::kOffsetDivide;

template <class S, class Codes, Encoding kEncoding, bool kZeroPoint>
void encode_groups(const void* from, int64_t groups, int64_t size, const UnitBatch& batch,
                   const Factors& range, uint8_t* to, int64_t ahead) {
  using GroupEncoder = Encoder<S, Codes, kEncoding, kZeroPoint>;
  const auto* elements = static_cast<const typename S::Bits*>(from);
  const float lowest = range.lowest,
              highest = range.highest;  // stores of bytes might change what is referred to
  const auto encoder_of = [&](int64_t i) HWY_ATTR {
    return GroupEncoder({batch.factor[i], batch.offset[i], batch.reciprocal[i], lowest, highest});
  };
  const bool stream = reinterpret_cast<uintptr_t>(to) % 64 == 0;
  if constexpr (kPaired<S, Codes, kEncoding, kZeroPoint>) {
    if (GroupCodes<S>::suits(batch, groups)) {
      return GroupCodes<S>(batch, groups).encode(elements, groups, size, to, stream, ahead);
    }
  }
  if constexpr (kOffset<S, Codes, kEncoding>) {
    const OffsetCodes codes(batch, groups);
    if (codes.suits()) return codes.encode(elements, groups, size, to, stream, ahead);
  }
  const int64_t bytes = size * Codes::kBits / 8;
  int64_t i = 0;
  if constexpr (Codes::kBits == 4) {
    for (; size == 2 * kLanes && i + 4 <= groups; i += 4, elements += 4 * size, to += 4 * bytes) {
      GroupEncoder::run_four(encoder_of(i), encoder_of(i + 1), encoder_of(i + 2), encoder_of(i + 3), elements,
                             to, stream, ahead);
    }
  } else {
    for (; size == 2 * kLanes && i + 2 <= groups; i += 2, elements += 2 * size, to += 2 * bytes) {
      GroupEncoder::run_two(encoder_of(i), encoder_of(i + 1), elements, to, stream, ahead);
    }
  }
  for (; i < groups; ++i, elements += size, to += bytes) encoder_of(i).run(elements, size, to, ahead);
}

template <class S, class Codes, Encoding kEncoding, bool kZeroPoint = false>
constexpr Encoders encoders_of() {
  return {prepare_unit<S, Codes, kEncoding, kZeroPoint>, encode_strip<S, Codes, kEncoding, kZeroPoint>,
          encode_groups<S, Codes, kEncoding, kZeroPoint>};
}

template <class S, template <uint32_t> class Codes>
Encoders find_int4_encoders(Encoding encoding, bool zero_point) {
  switch (encoding) {
    case Encoding::kMultiplyRounded:
      return encoders_of<S, Codes<8>, Encoding::kMultiplyRounded>();
    case Encoding::kDivideRounded:
      return zero_point ? encoders_of<S, Codes<8>, Encoding::kDivideRounded, true>()
                        : encoders_of<S, Codes<8>, Encoding::kDivideRounded>();
    case Encoding::kOffsetDivide:
      return encoders_of<S, Codes<0>, Encoding::kOffsetDivide>();
    case Encoding::kOffsetDivideRounded:
      return encoders_of<S, Codes<0>, Encoding::kOffsetDivideRounded>();
    default:
      return {};
  }
}

template <class S>
Encoders find_encoders(Element element, int64_t bits, const ProfileRule& rule) {
  const Encoding encoding = rule.encoding;
  if (element == Element::kE4M3) {
    if (encoding == Encoding::kDivide) return encoders_of<S, E4M3Codes, Encoding::kDivide>();
    if (encoding == Encoding::kMultiply) return encoders_of<S, E4M3Codes, Encoding::kMultiply>();
    if (encoding == Encoding::kMultiplyFactor) return encoders_of<S, E4M3Codes, Encoding::kMultiply>();
    if (encoding == Encoding::kDivideRounded) return encoders_of<S, E4M3Codes, Encoding::kDivideRounded>();
  } else if (element == Element::kInt8) {
    if (encoding == Encoding::kMultiply) return encoders_of<S, Int8Codes, Encoding::kMultiply>();
    if (encoding == Encoding::kMultiplyRounded)
      return encoders_of<S, Int8Codes, Encoding::kMultiplyRounded>();
    if (encoding == Encoding::kDivideRounded) return encoders_of<S, Int8Codes, Encoding::kDivideRounded>();
  } else if (element == Element::kInt4) {
    return bits == 4 ? find_int4_encoders<S, Int4Codes>(encoding, rule.integer_zero)
                     : find_int4_encoders<S, Int4ByteCodes>(encoding, rule.integer_zero);
  }
  return {};
}

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
