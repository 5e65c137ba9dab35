// locate_elements with an element a lane of 64 bits. Included once for each instruction set, as Highway wants
// it.
#if defined(LIVEWEIGHT_QUANTIZE_ELEMENT_PLACES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_ELEMENT_PLACES_INL_H_
#undef LIVEWEIGHT_QUANTIZE_ELEMENT_PLACES_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_ELEMENT_PLACES_INL_H_
#endif

#include <hwy/highway.h>

#include <cstring>

#include "quantize/element_places.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

class PlaceFinder {
 public:
  using Tag = hn::CappedTag<uint64_t, 8>;
  using Vector = hn::Vec<Tag>;
  static constexpr int64_t kStep = hn::MaxLanes(Tag());

  explicit PlaceFinder(const ElementPlaces& places)
      : places_(places), splits_rows_(places.scale_bytes != 0), has_scales_(places.scale_row_bytes != 0) {}

  void run(const uint32_t* positions, int64_t first, ElementPlaceBatch& batch) const {
    const Tag d;
    const hn::RebindToSigned<Tag> i;
    const Vector position = hn::PromoteTo(d, hn::LoadU(hn::Rebind<uint32_t, Tag>(), positions + first));
    const Vector source_row = divide(places_.row_of, position);
    const Vector col = hn::Sub(position, times(source_row, places_.cols));
    const auto row = hn::Sub(hn::BitCast(i, source_row), hn::Set(i, places_.first_row));
    const auto last_row = hn::Set(i, std::max<int64_t>(places_.rows, 1) - 1);
    const auto kept_row = hn::Min(hn::Max(row, hn::Zero(i)), last_row);
    const auto kept_col = hn::Min(hn::Max(hn::BitCast(i, col), hn::Set(i, int64_t{places_.first_col})),
                                  hn::Set(i, int64_t{places_.last_col}));
    const auto in_rows = hn::And(hn::Eq(row, kept_row), hn::Lt(row, hn::Set(i, places_.rows)));
    note(hn::And(in_rows, hn::Eq(hn::BitCast(i, col), kept_col)), first, batch.keeps);
    const auto counting_col = hn::Sub(hn::BitCast(i, col), hn::Set(i, int64_t{places_.first_counting_col}));
    note(hn::And(hn::Gt(counting_col, hn::Set(i, -1)),
                 hn::Lt(counting_col, hn::Set(i, int64_t{places_.counting_cols}))),
         first, batch.counts);
    locate_codes(hn::BitCast(d, kept_row), hn::BitCast(d, kept_col), first, batch);
    locate_scales(hn::BitCast(d, kept_row), hn::BitCast(d, kept_col), first, batch);
  }

 private:
  static Vector set(uint64_t x) { return hn::Set(Tag(), x); }

  // Products of the lower halves of lanes.
  static Vector times32(Vector a, Vector b) {
    const hn::Repartition<uint32_t, Tag> d;
    return hn::MulEven(hn::BitCast(d, a), hn::BitCast(d, b));
  }
  // Of a number below 2^32 by any.
  static Vector times(Vector a, uint64_t b) {
    const Vector high = times32(a, set(b >> 32));
    return hn::Add(times32(a, set(b)), hn::ShiftLeft<32>(high));
  }
  // (n + 1) * factor / 2^64 in halves of 32 bits, none of which overflows.
  static Vector divide(const Divisor& divisor, Vector n) {
    const Vector high = set(divisor.factor() >> 32), low = set(divisor.factor() & 0xffffffffu);
    const Vector carry = hn::ShiftRight<32>(hn::Add(times32(low, n), low));
    return hn::ShiftRight<32>(hn::Add(hn::Add(times32(high, n), high), carry));
  }

  template <class Mask>
  static void note(Mask mask, int64_t first, uint64_t& bits) {
    uint8_t bytes[8] = {};
    hn::StoreMaskBits(hn::RebindToSigned<Tag>(), mask, bytes);
    bits |= uint64_t{bytes[0]} << first;
  }

  void locate_codes(Vector row, Vector col, int64_t first, ElementPlaceBatch& batch) const {
    const Tag d;
    const Vector bit =
        hn::ShiftLeftSame(hn::Sub(col, set(places_.first_col)), static_cast<int>(places_.code_bits_log2));
    const Vector begin = hn::Add(set(places_.codes), times(row, places_.code_row_bytes));
    hn::Store(hn::Add(begin, hn::ShiftRight<3>(bit)), d, batch.code + first);
    const hn::Rebind<uint8_t, Tag> bytes;
    const Vector mask = hn::Shl(set(places_.code_mask), hn::And(bit, set(7)));
    hn::StoreU(hn::TruncateTo(bytes, mask), bytes, batch.mask + first);
  }

  void locate_scales(Vector row, Vector col, int64_t first, ElementPlaceBatch& batch) const {
    Vector scale = set(places_.scales);
    if (has_scales_) {
      const auto source_row = hn::Add(row, set(static_cast<uint64_t>(places_.first_row)));
      const Vector unit_row = splits_rows_ ? divide(places_.unit_row_of, source_row) : source_row;
      scale = hn::Add(scale, times(hn::Sub(unit_row, set(places_.first_unit_row)), places_.scale_row_bytes));
    }
    if (splits_rows_) {
      const Vector unit_col = hn::Sub(divide(places_.unit_col_of, col), set(places_.first_unit_col));
      scale = hn::Add(scale, times32(unit_col, set(places_.scale_bytes)));
    }
    hn::Store(scale, Tag(), batch.scale + first);
  }

  const ElementPlaces& places_;
  const bool splits_rows_, has_scales_;
};

void locate_elements_on(const ElementPlaces& places, const uint32_t* positions, int64_t count,
                        ElementPlaceBatch& batch) {
  const PlaceFinder finder(places);
  batch.keeps = batch.counts = 0;
  if (count == kElementBatch) {
    for (int64_t i = 0; i < kElementBatch; i += PlaceFinder::kStep) finder.run(positions, i, batch);
    return;
  }
  uint32_t padded[kElementBatch] = {};
  std::memcpy(padded, positions, static_cast<size_t>(count) * sizeof(uint32_t));
  for (int64_t i = 0; i < count; i += PlaceFinder::kStep) finder.run(padded, i, batch);
  const uint64_t used = (uint64_t{1} << count) - 1;
  batch.keeps &= used;
  batch.counts &= used;
}

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
