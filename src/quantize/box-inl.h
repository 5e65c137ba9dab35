// quantize_box and absolute_maximum: which walk a scheme's units need. Included once for each instruction
// set, as Highway wants it.
#if defined(LIVEWEIGHT_QUANTIZE_BOX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_QUANTIZE_BOX_INL_H_
#undef LIVEWEIGHT_QUANTIZE_BOX_INL_H_
#else
#define LIVEWEIGHT_QUANTIZE_BOX_INL_H_
#endif

#include <hwy/cache_control.h>

#include "quantize/box_blocks-inl.h"
#include "quantize/box_groups-inl.h"
#include "quantize/box_rows-inl.h"
#include "quantize/box_units-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

// Whether a group begins in the middle of a byte of codes.
inline bool splits_bytes(const SourceBox& box, const KernelFormat& format) {
  return code_bits(format) == 4 &&
         (format.scheme.size % 2 != 0 || format.source_col % 2 != 0 || box.col % 2 != 0);
}

template <class S>
Fault rows(BoxUnits<S>& units) {
  GroupWalk<S> groups(units);
  const int64_t at_once = groups.rows_at_once();
  return at_once > 1 ? groups.quantize_rows(at_once) : RowWalk<S>(units).quantize();
}

template <class S>
Fault walk(BoxUnits<S>& units) {
  const SourceBox& box = units.box;
  if (!units.format.scheme.quantizes()) return RowWalk<S>(units).copy();
  if (!units.encoders.strip || splits_bytes(box, units.format)) {
    return units.oracle(box.row, box.rows, box.col, box.cols);
  }
  switch (units.format.scheme.granularity) {
    case Granularity::kBlock:
      return BlockWalk<S>(units).quantize();
    case Granularity::kGroup:
      return GroupWalk<S>(units).quantize();
    case Granularity::kTensor:
      return RowWalk<S>(units).quantize_by_tensor();
    default:
      return rows<S>(units);
  }
}

template <class S>
Fault quantize_box_of(const SourceBox& box, const SlotRegion& region, const TensorUnit& tensor) {
  BoxUnits<S> units(box, region, tensor);
  const Fault fault = walk(units);
  hwy::FlushStream();
  return fault;
}

template <class S>
AmaxResult absolute_maximum_of(const SourceBox& box) {
  LargestMagnitude<S> largest;
  const auto* data = reinterpret_cast<const typename S::Bits*>(box.data);
  const bool one_run = box.stride == box.cols;
  const int64_t runs = one_run ? 1 : box.rows, length = one_run ? box.rows * box.cols : box.cols;
  for (int64_t run = 0; run < runs; ++run) largest.add(data + run * box.stride, length);
  HWY_ALIGN typename S::Bits bits[kLanes] = {largest.get()};
  if (!is_finite<S>(bits[0])) return absolute_maximum_reference(box);
  return {hn::GetLane(S::load(bits)), std::nullopt};
}

Fault quantize_box_on(const SourceBox& box, const SlotRegion& region, const TensorUnit& unit) {
  if (box.dtype == DType::kBF16) return quantize_box_of<BF16Source>(box, region, unit);
  if (box.dtype == DType::kF16) return quantize_box_of<F16Source>(box, region, unit);
  return quantize_box_of<F32Source>(box, region, unit);
}

AmaxResult absolute_maximum_on(const SourceBox& box) {
  if (box.dtype == DType::kBF16) return absolute_maximum_of<BF16Source>(box);
  if (box.dtype == DType::kF16) return absolute_maximum_of<F16Source>(box);
  return absolute_maximum_of<F32Source>(box);
}

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
