// Element types by the names that safetensors, numpy (with ml_dtypes), torch and DLPack give them.
#pragma once

#include <nanobind/ndarray.h>

#include <optional>
#include <string_view>

#include "liveweight/dtype.h"

namespace liveweight::python {

// "bfloat16", "float8_e4m3fn", "int8": what numpy, ml_dtypes and torch say.
std::optional<DType> dtype_from_numpy(std::string_view name);
std::string_view numpy_name(DType dtype);

// Those names, or safetensors' ("BF16").
std::optional<DType> dtype_from_any(std::string_view name);

std::optional<DType> dtype_from_dlpack(nanobind::dlpack::dtype dtype);
nanobind::dlpack::dtype dlpack_dtype(DType dtype);

}  // namespace liveweight::python
