#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "quantize/profile.h"
#include "quantize/quantize.h"
#include "quantize/unit_layout.h"
#include "tensor/codec.h"

namespace liveweight {
namespace {

struct Range {
  int64_t begin = 0;
  int64_t end = 0;
};

Range intersect(Range a, Range b) {
  return {std::max(a.begin, b.begin), std::min(a.end, b.end)};
}

// One unit of the box, and the part of it that the region keeps, in source coordinates.
struct Unit {
  Range rows, cols;
  Range kept_rows, kept_cols;
  bool kept() const { return kept_rows.begin < kept_rows.end && kept_cols.begin < kept_cols.end; }
};

class ReferenceQuantizer {
 public:
  ReferenceQuantizer(const SourceBox& box, const SlotRegion& region, const TensorUnit& tensor)
      : box_(box),
        region_(region),
        format_(*region.format),
        tensor_(tensor),
        rule_(rule_for(format_.scheme, box.dtype)) {}

  std::optional<QuantizeFault> run() {
    const int64_t row_step = unit_rows(), col_step = unit_cols();
    for (int64_t row = box_.row; row < box_.row + box_.rows;) {
      const int64_t row_end = std::min((row / row_step + 1) * row_step, box_.row + box_.rows);
      for (int64_t col = box_.col; col < box_.col + box_.cols;) {
        const int64_t col_end = std::min((col / col_step + 1) * col_step, box_.col + box_.cols);
        if (auto fault = quantize_unit(unit_at({row, row_end}, {col, col_end}))) return fault;
        col = col_end;
      }
      row = row_end;
    }
    return std::nullopt;
  }

 private:
  int64_t unit_rows() const {
    switch (format_.scheme.granularity) {
      case Granularity::kBlock:
        return format_.scheme.size;
      case Granularity::kTensor:
        return std::numeric_limits<int64_t>::max() / 2;
      default:
        return 1;
    }
  }

  int64_t unit_cols() const {
    const Granularity granularity = format_.scheme.granularity;
    const bool split = granularity == Granularity::kBlock || granularity == Granularity::kGroup;
    return split ? format_.scheme.size : std::numeric_limits<int64_t>::max() / 2;
  }

  Unit unit_at(Range rows, Range cols) const {
    const Segment& segment = region_.segment;
    return {rows, cols, intersect(rows, {segment.source_row, segment.source_row + segment.rows}),
            intersect(cols, {format_.source_col, format_.source_col + format_.cols})};
  }

  float at(int64_t row, int64_t col) const {
    return load_high_precision(box_.dtype, box_.data, (row - box_.row) * box_.stride + col - box_.col);
  }

  std::optional<QuantizeFault> quantize_unit(const Unit& unit) {
    Extremes extremes{0, std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()};
    for (int64_t row = unit.rows.begin; row < unit.rows.end; ++row) {
      for (int64_t col = unit.cols.begin; col < unit.cols.end; ++col) {
        const float x = at(row, col);
        if (!std::isfinite(x)) return QuantizeFault{row, col, x, false};
        extremes.amax = std::max(extremes.amax, std::fabs(x));
        extremes.min = std::min(extremes.min, x);
        extremes.max = std::max(extremes.max, x);
      }
    }
    if (!unit.kept()) return std::nullopt;
    if (!format_.scheme.quantizes()) return copy(unit);
    if (format_.scheme.granularity == Granularity::kTensor) extremes.amax = tensor_.amax;
    const bool edge = unit.rows.end - unit.rows.begin < format_.scheme.size ||
                      unit.cols.end - unit.cols.begin < format_.scheme.size;
    if (rule_.fill_edges && edge) extremes.amax = std::max(extremes.amax, std::fabs(tensor_.last_element));
    const UnitScale scale = make_unit_scale(rule_, box_.dtype, extremes);
    if (!scale.finite) return QuantizeFault{unit.rows.begin, unit.cols.begin, extremes.amax, true};
    store_unit_scale(region_, unit.kept_rows.begin, unit.kept_cols.begin, scale.scale, scale.zero);
    for (int64_t row = unit.kept_rows.begin; row < unit.kept_rows.end; ++row) encode_row(unit, row, scale);
    return std::nullopt;
  }

  std::optional<QuantizeFault> copy(const Unit& unit) {
    const int64_t each = bits_of(box_.dtype) / 8;
    for (int64_t row = unit.kept_rows.begin; row < unit.kept_rows.end; ++row) {
      const std::byte* from =
          box_.data + ((row - box_.row) * box_.stride + unit.kept_cols.begin - box_.col) * each;
      std::memcpy(data_row(row) + (unit.kept_cols.begin - format_.source_col) * each, from,
                  static_cast<size_t>((unit.kept_cols.end - unit.kept_cols.begin) * each));
    }
    return std::nullopt;
  }

  std::byte* data_row(int64_t source_row) const {
    const int64_t row = region_.segment.row + source_row - region_.segment.source_row;
    return region_.slot + row_offset(format_.data, region_.matrix, row);
  }

  void encode_row(const Unit& unit, int64_t row, const UnitScale& scale) {
    std::byte* data = data_row(row);
    for (int64_t col = unit.kept_cols.begin; col < unit.kept_cols.end; ++col) {
      const float x = at(row, col);
      const int64_t local = col - format_.source_col;
      switch (format_.scheme.element) {
        case Element::kE4M3:
          data[local] = static_cast<std::byte>(encode_e4m3(rule_, box_.dtype, scale, x));
          break;
        default: {
          const int code = encode_integer(rule_, box_.dtype, scale, x);
          if (code_bits(format_) == 4) {
            store_nibble(data, local, code + 8);
          } else {
            data[local] = static_cast<std::byte>(code);
          }
        }
      }
    }
  }

  // The even element is the low nibble; the last element clears what is left of its four bytes.
  void store_nibble(std::byte* data, int64_t local, int code) {
    const auto nibble = static_cast<std::byte>(code);
    std::byte& byte = data[local / 2];
    byte = local % 2 ? (byte & std::byte{0x0f}) | nibble << 4 : (byte & std::byte{0xf0}) | nibble;
    if (local + 1 < format_.cols) return;
    if (local % 2 == 0) byte &= std::byte{0x0f};
    std::memset(data + local / 2 + 1, 0, static_cast<size_t>(format_.data.row_bytes - local / 2 - 1));
  }

  const SourceBox& box_;
  const SlotRegion& region_;
  const KernelFormat& format_;
  const TensorUnit& tensor_;
  const ProfileRule rule_;
};

}  // namespace

std::optional<QuantizeFault> quantize_box_reference(const SourceBox& box, const SlotRegion& region,
                                                    const TensorUnit& unit) {
  return ReferenceQuantizer(box, region, unit).run();
}

AmaxResult absolute_maximum_reference(const SourceBox& box) {
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

}  // namespace liveweight
