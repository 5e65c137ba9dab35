#include "quantize/quantize.h"

#include <algorithm>
#include <cmath>

#include "tensor/codec.h"

namespace liveweight {

std::optional<QuantizeFault> quantize_box(const SourceBox& box, const SlotRegion& region,
                                          const TensorUnit& unit) {
  return quantize_box_reference(box, region, unit);
}

AmaxResult absolute_maximum(const SourceBox& box) {
  AmaxResult result;
  for (int64_t row = 0; row < box.rows; ++row) {
    for (int64_t col = 0; col < box.cols; ++col) {
      const float x = load_high_precision(box.dtype, box.data, row * box.stride + col);
      if (!std::isfinite(x)) {
        result.fault = QuantizeFault{box.row + row, box.col + col, x, false};
        return result;
      }
      result.amax = std::max(result.amax, std::fabs(x));
    }
  }
  return result;
}

const char* quantize_target() {
  return "scalar";
}

}  // namespace liveweight
