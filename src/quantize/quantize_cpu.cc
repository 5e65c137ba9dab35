// Below these instruction sets there is no conversion of fp16 that rounds as IEEE 754 does: the oracle runs
// there.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quantize/quantize_cpu.cc"
#include <hwy/foreach_target.h>
// Highway wants its own header after the one above.
#include <hwy/highway.h>

#include "quantize/element_batch.h"
#include "quantize/element_places.h"
#include "quantize/quantize.h"

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128
namespace liveweight {
namespace HWY_NAMESPACE {
std::optional<QuantizeFault> quantize_box_on(const SourceBox& box, const SlotRegion& region,
                                             const TensorUnit& unit) {
  return quantize_box_reference(box, region, unit);
}

AmaxResult absolute_maximum_on(const SourceBox& box) {
  return absolute_maximum_reference(box);
}

void encode_elements_on(const ElementRule& rule, ElementBatch& batch, int64_t count) {
  encode_elements_reference(rule, batch, count);
}

void locate_elements_on(const ElementPlaces& places, const uint32_t* positions, int64_t count,
                        ElementPlaceBatch& batch) {
  locate_elements_reference(places, positions, count, batch);
}
}  // namespace HWY_NAMESPACE
}  // namespace liveweight
#else
#include "quantize/box-inl.h"
#include "quantize/element_batch-inl.h"
#include "quantize/element_places-inl.h"
#endif

#if HWY_ONCE
namespace liveweight {

HWY_EXPORT(quantize_box_on);
HWY_EXPORT(absolute_maximum_on);
HWY_EXPORT(encode_elements_on);
HWY_EXPORT(locate_elements_on);

std::optional<QuantizeFault> quantize_box(const SourceBox& box, const SlotRegion& region,
                                          const TensorUnit& unit) {
  return HWY_DYNAMIC_DISPATCH(quantize_box_on)(box, region, unit);
}

AmaxResult absolute_maximum(const SourceBox& box) {
  return HWY_DYNAMIC_DISPATCH(absolute_maximum_on)(box);
}

void encode_elements(const ElementRule& rule, ElementBatch& batch, int64_t count) {
  HWY_DYNAMIC_DISPATCH(encode_elements_on)(rule, batch, count);
}

void locate_elements(const ElementPlaces& places, const uint32_t* positions, int64_t count,
                     ElementPlaceBatch& batch) {
  HWY_DYNAMIC_DISPATCH(locate_elements_on)(places, positions, count, batch);
}

const char* quantize_target() {
  const int64_t supported = hwy::SupportedTargets() & HWY_TARGETS;
  return hwy::TargetName(supported & -supported);
}

}  // namespace liveweight
#endif
