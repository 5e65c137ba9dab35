// Where single elements of a source tensor lie in a slot, without a branch or a division for each.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/divisor.h"
#include "quantize/element_batch.h"
#include "quantize/quantize.h"

namespace liveweight {

struct ElementPlace {
  bool keeps = false;   // whether the region keeps the element
  bool counts = false;  // whether its unit is one that the region holds something of, by its columns
  uint8_t mask = 0;     // the bits of its code in the first byte
  uint64_t code = 0;    // that byte's offset in the slot; of the nearest element where it is not kept
  uint64_t scale = 0;   // offset of its unit's scale; of the nearest unit that is kept where none of it is
};

// The same of as many elements as are patched together. `keeps` and `counts`: a bit for each.
struct ElementPlaceBatch {
  alignas(64) uint64_t code[kElementBatch];
  alignas(64) uint64_t scale[kElementBatch];
  alignas(64) uint8_t mask[kElementBatch];
  uint64_t keeps = 0;
  uint64_t counts = 0;
};

// Columns of the source tensor whose elements count for what the format keeps: units that it holds in part
// are whole here.
struct ColumnRange {
  int64_t begin = 0;
  int64_t end = 0;
};
ColumnRange columns_of_units(const KernelFormat& format);

struct ElementPlaces {
  // Of a source tensor of `source_cols` columns.
  ElementPlaces(const SlotRegion& region, int64_t source_cols);

  ElementPlace operator()(uint32_t position) const;

  uint32_t cols, unit_rows;
  Divisor row_of, unit_row_of, unit_col_of;  // rows and columns of a unit; 1 where it has one scale
  int64_t first_row, rows;                   // of the source
  uint32_t first_col, last_col;
  uint32_t first_counting_col, counting_cols;
  uint32_t code_bits_log2;
  uint8_t code_mask;  // of a code that begins its byte
  uint64_t codes, code_row_bytes;
  uint32_t first_unit_row, first_unit_col;
  uint64_t scales, scale_row_bytes, scale_bytes;  // from unit to unit
};

// places(positions[i]) for `count` positions, 1 to kElementBatch; behind them the last one's, with bits of 0.
void locate_elements(const ElementPlaces& places, const uint32_t* positions, int64_t count,
                     ElementPlaceBatch& batch);
void locate_elements_reference(const ElementPlaces& places, const uint32_t* positions, int64_t count,
                               ElementPlaceBatch& batch);

}  // namespace liveweight
