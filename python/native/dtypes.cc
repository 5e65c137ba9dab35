#include "dtypes.h"

namespace nb = nanobind;

namespace liveweight::python {
namespace {

using Code = nb::dlpack::dtype_code;

struct Names {
  DType dtype;
  std::string_view numpy;
  Code code;
  uint8_t bits;
};

constexpr Names kNames[] = {
    {DType::kBool, "bool", Code::Bool, 8},
    {DType::kU8, "uint8", Code::UInt, 8},
    {DType::kI8, "int8", Code::Int, 8},
    {DType::kF8E5M2, "float8_e5m2", Code::Float8_E5M2, 8},
    {DType::kF8E4M3, "float8_e4m3fn", Code::Float8_E4M3FN, 8},
    {DType::kF8E8M0, "float8_e8m0fnu", Code::Float8_E8M0FNU, 8},
    {DType::kI16, "int16", Code::Int, 16},
    {DType::kU16, "uint16", Code::UInt, 16},
    {DType::kF16, "float16", Code::Float, 16},
    {DType::kBF16, "bfloat16", Code::Bfloat, 16},
    {DType::kI32, "int32", Code::Int, 32},
    {DType::kU32, "uint32", Code::UInt, 32},
    {DType::kF32, "float32", Code::Float, 32},
    {DType::kC64, "complex64", Code::Complex, 64},
    {DType::kF64, "float64", Code::Float, 64},
    {DType::kI64, "int64", Code::Int, 64},
    {DType::kU64, "uint64", Code::UInt, 64},
};

}  // namespace

std::optional<DType> dtype_from_numpy(std::string_view name) {
  for (const Names& known : kNames) {
    if (known.numpy == name) return known.dtype;
  }
  return std::nullopt;
}

std::string_view numpy_name(DType dtype) {
  for (const Names& known : kNames) {
    if (known.dtype == dtype) return known.numpy;
  }
  return "uint8";
}

std::optional<DType> dtype_from_any(std::string_view name) {
  const auto dtype = dtype_from_string(name);
  return dtype ? dtype : dtype_from_numpy(name);
}

std::optional<DType> dtype_from_dlpack(nb::dlpack::dtype dtype) {
  for (const Names& known : kNames) {
    if (static_cast<uint8_t>(known.code) == dtype.code && known.bits == dtype.bits && dtype.lanes == 1)
      return known.dtype;
  }
  return std::nullopt;
}

nb::dlpack::dtype dlpack_dtype(DType dtype) {
  for (const Names& known : kNames) {
    if (known.dtype == dtype) return {static_cast<uint8_t>(known.code), known.bits, 1};
  }
  return {static_cast<uint8_t>(Code::UInt), 8, 1};
}

}  // namespace liveweight::python
