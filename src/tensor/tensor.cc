#include "liveweight/tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <limits>

namespace liveweight {
namespace {

struct DTypeFacts {
  std::string_view name;
  int bits;
};

// In the order of DType.
constexpr std::array<DTypeFacts, 20> kFacts = {{
    {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},   {"I8", 8},    {"F8_E5M2", 8},
    {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16}, {"BF16", 16}, {"I32", 32},
    {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},    {"I64", 64}, {"U64", 64},
}};

}  // namespace

std::string_view to_string(DType dtype) {
  return kFacts[static_cast<size_t>(dtype)].name;
}

std::optional<DType> dtype_from_string(std::string_view name) {
  for (size_t i = 0; i < kFacts.size(); ++i) {
    if (kFacts[i].name == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

int bits_of(DType dtype) {
  return kFacts[static_cast<size_t>(dtype)].bits;
}

std::optional<uint64_t> bytes_of(DType dtype, uint64_t count) {
  const auto bits_each = static_cast<uint64_t>(bits_of(dtype));
  if (count > std::numeric_limits<uint64_t>::max() / bits_each) return std::nullopt;
  const uint64_t bits = count * bits_each;
  if (bits % 8 != 0) return std::nullopt;
  return bits / 8;
}

bool is_high_precision(DType dtype) {
  return dtype == DType::kBF16 || dtype == DType::kF16 || dtype == DType::kF32;
}

int64_t element_count(const Shape& shape) {
  int64_t count = 1;
  for (int64_t extent : shape) count *= extent;
  return count;
}

std::string to_string(const Shape& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace liveweight
