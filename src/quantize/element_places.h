// Where single elements of a source tensor lie in a slot, without a branch or a division for each.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/divisor.h"
#include "quantize/quantize.h"

namespace liveweight {

class ElementPlaces {
 public:
  // Of a source tensor of `source_cols` columns.
  ElementPlaces(const SlotRegion& region, int64_t source_cols);

  struct Place {
    uint32_t source_col = 0;
    bool keeps = false;  // whether the region keeps the element
    uint8_t shift = 0;   // of its code in the first byte
    uint64_t code = 0;   // that byte's offset in the slot
    uint64_t scale = 0;  // offset of its unit's scale; of the nearest unit that is kept where none of it is
  };

  Place operator()(uint32_t position) const {
    const uint32_t source_row = row_of_.divide(position), source_col = position - source_row * cols_;
    const int64_t row = int64_t{source_row} - first_row_, kept_row = std::clamp(row, int64_t{0}, last_row_);
    const uint32_t kept_col = std::clamp(source_col, first_col_, last_col_);
    const uint64_t bit = uint64_t{kept_col - first_col_} * code_bits_;
    Place place;
    place.source_col = source_col;
    place.keeps = static_cast<uint64_t>(row) < rows_ && source_col == kept_col;
    place.shift = static_cast<uint8_t>(bit % 8);
    place.code = codes_ + static_cast<uint64_t>(kept_row) * code_row_bytes_ + bit / 8;
    const uint32_t unit_row = unit_row_of_.divide(static_cast<uint32_t>(kept_row + first_row_));
    const uint32_t unit_col = unit_col_of_.divide(kept_col);
    place.scale = scales_ + uint64_t{unit_row - first_unit_row_} * scale_row_bytes_ +
                  uint64_t{unit_col - first_unit_col_} * scale_bytes_;
    return place;
  }

 private:
  uint32_t cols_;
  Divisor row_of_, unit_row_of_, unit_col_of_;  // rows and columns of a unit; 1 where it has one scale
  uint64_t rows_;
  int64_t first_row_, last_row_;  // of the source; the last one counts from the first
  uint32_t first_col_, last_col_;
  uint32_t code_bits_;
  uint64_t codes_, code_row_bytes_;
  uint32_t first_unit_row_, first_unit_col_;
  uint64_t scales_, scale_row_bytes_, scale_bytes_;  // from unit to unit
};

}  // namespace liveweight
