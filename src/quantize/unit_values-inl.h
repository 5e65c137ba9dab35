// Scales and zero points of units side by side, as they are stored. Included once for each instruction set,
// as Highway wants it.
#if defined(LIVEWEIGHT_QUANTIZE_UNIT_VALUES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_UNIT_VALUES_INL_H_
#undef LIVEWEIGHT_QUANTIZE_UNIT_VALUES_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_UNIT_VALUES_INL_H_
#endif

#include <cstddef>
#include <cstring>

#include "liveweight/dtype.h"
#include "quantize/source-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

// The first `count` lanes.
template <class D>
HWY_INLINE void store_first(hn::Vec<D> lanes, D d, int64_t count, std::byte* to) {
  using T = hn::TFromD<D>;
  if (count >= kLanes) return hn::StoreU(lanes, d, reinterpret_cast<T*>(to));
  HWY_ALIGN T rest[kLanes];
  hn::Store(lanes, d, rest);
  std::memcpy(to, rest, static_cast<size_t>(count) * sizeof(T));
}

// As fp32, as integers of 8 bits, or in the source's dtype, to which such values are rounded already: their
// bits are all there is to store. `values` are aligned, and readable up to a multiple of kLanes.
template <class S>
HWY_INLINE void store_unit_values(DType dtype, const float* values, int64_t count, std::byte* to) {
  const FloatTag d;
  for (int64_t i = 0; i < count; i += kLanes) {
    const auto lanes = hn::Load(d, values + i);
    if (dtype == DType::kF32) {
      store_first(lanes, d, count - i, to + i * 4);
    } else if (dtype == DType::kI8) {
      const hn::Rebind<int8_t, FloatTag> bytes;
      store_first(hn::DemoteTo(bytes, hn::ConvertTo(IntTag(), lanes)), bytes, count - i, to + i);
    } else if constexpr (sizeof(typename S::Bits) == 2) {
      const hn::Rebind<int16_t, FloatTag> halves;
      store_first(hn::DemoteTo(halves, S::bits_of(lanes)), halves, count - i, to + i * 2);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
