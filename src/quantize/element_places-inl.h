// locate_elements with an element a lane of 64 bits. Included once for each instruction set, as Highway wants
// it.
#if defined(LIVEWEIGHT_QUANTIZE_ELEMENT_PLACES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_ELEMENT_PLACES_INL_H_
#undef LIVEWEIGHT_QUANTIZE_ELEMENT_PLACES_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_ELEMENT_PLACES_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

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
      : places_(places),
        splits_rows_(places.scale_bytes != 0),
        joins_rows_(places.unit_rows > 1),
        has_scales_(places.scale_row_bytes != 0) {}

  // Of kElementBatch positions, with bits for the first `count`.
  void run(const uint32_t* positions, int64_t count, ElementPlaceBatch& batch) const {
    Bits bits;
    for (int64_t i = 0; i < kElementBatch; i += kStep) locate(positions, i, bits, batch);
    const uint64_t used = (uint64_t{1} << count) - 1;
    batch.keeps = bits.keeps & used;
    batch.counts = bits.counts & used;
  }

 private:
  // Not in the batch: there the compiler joins the two, by way of bytes in memory.
  struct Bits {
    uint64_t keeps = 0, counts = 0;
  };

  void locate(const uint32_t* positions, int64_t first, Bits& bits, ElementPlaceBatch& batch) const {
    const Tag d;
    const hn::RebindToSigned<Tag> i;
    const Vector position = hn::PromoteTo(d, hn::LoadU(hn::Rebind<uint32_t, Tag>(), positions + first));
    const Vector source_row = divide(places_.row_of, position);
    const Vector col = hn::Sub(position, times32(source_row, set(places_.cols)));
    const auto row = hn::Sub(hn::BitCast(i, source_row), hn::Set(i, places_.first_row));
    const auto last_row = hn::Set(i, std::max<int64_t>(places_.rows, 1) - 1);
    const auto kept_row = hn::Min(hn::Max(row, hn::Zero(i)), last_row);
    const auto kept_col = hn::Min(hn::Max(hn::BitCast(i, col), hn::Set(i, int64_t{places_.first_col})),
                                  hn::Set(i, int64_t{places_.last_col}));
    const auto in_rows = hn::And(hn::Eq(row, kept_row), hn::Lt(row, hn::Set(i, places_.rows)));
    note(hn::And(in_rows, hn::Eq(hn::BitCast(i, col), kept_col)), first, bits.keeps);
    const auto counting_col = hn::Sub(hn::BitCast(i, col), hn::Set(i, int64_t{places_.first_counting_col}));
    note(hn::And(hn::Gt(counting_col, hn::Set(i, -1)),
                 hn::Lt(counting_col, hn::Set(i, int64_t{places_.counting_cols}))),
         first, bits.counts);
    locate_codes(hn::BitCast(d, kept_row), hn::BitCast(d, kept_col), first, batch);
    locate_scales(hn::BitCast(d, kept_row), hn::BitCast(d, kept_col), first, batch);
  }

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
  static Vector divide(const Divisor& divisor, Vector n) {
    return hn::ShiftRightSame(hn::Add(times32(n, set(divisor.factor())), set(divisor.addend())),
                              divisor.shift());
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
      const Vector unit_row = joins_rows_ ? divide(places_.unit_row_of, source_row) : source_row;
      scale = hn::Add(scale, times(hn::Sub(unit_row, set(places_.first_unit_row)), places_.scale_row_bytes));
    }
    if (splits_rows_) {
      const Vector unit_col = hn::Sub(divide(places_.unit_col_of, col), set(places_.first_unit_col));
      scale = hn::Add(scale, times32(unit_col, set(places_.scale_bytes)));
    }
    hn::Store(scale, Tag(), batch.scale + first);
  }

  const ElementPlaces& places_;
  const bool splits_rows_, joins_rows_, has_scales_;
};

void locate_elements_on(const ElementPlaces& places, const uint32_t* positions, int64_t count,
                        ElementPlaceBatch& batch) {
  const PlaceFinder finder(places);
  if (count == kElementBatch) return finder.run(positions, count, batch);
  uint32_t padded[kElementBatch];
  std::copy(positions, positions + count, padded);
  std::fill(padded + count, padded + kElementBatch, positions[count - 1]);
  finder.run(padded, count, batch);
}

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
