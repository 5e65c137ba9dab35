#include "source.h"

#include <fmt/format.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <cstring>
#include <unordered_map>

#include "dtypes.h"
#include "errors.h"

namespace nb = nanobind;

namespace liveweight::python {
namespace {

using Strides = std::vector<int64_t>;  // in bytes

[[noreturn]] void refuse(ErrorCode code, const std::string& name, const std::string& sentence) {
  throw Failure{Error{code, fmt::format("tensor {}: {}", name, sentence), {name}}};
}

bool is_contiguous(const Shape& shape, const Strides& strides, size_t element_bytes) {
  auto expected = static_cast<int64_t>(element_bytes);
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] != 1 && strides[i] != expected) return false;
    expected *= shape[i];
  }
  return true;
}

// Copies `shape` elements from strided memory to contiguous memory.
std::byte* pack(std::byte* to, const std::byte* from, const Shape& shape, const Strides& strides, size_t dim,
                size_t element_bytes) {
  if (dim == shape.size())
    return static_cast<std::byte*>(std::memcpy(to, from, element_bytes)) + element_bytes;
  if (dim + 1 == shape.size() && strides[dim] == static_cast<int64_t>(element_bytes)) {
    const size_t bytes = static_cast<size_t>(shape[dim]) * element_bytes;
    return static_cast<std::byte*>(std::memcpy(to, from, bytes)) + bytes;
  }
  for (int64_t i = 0; i < shape[dim]; ++i)
    to = pack(to, from + i * strides[dim], shape, strides, dim + 1, element_bytes);
  return to;
}

Source make_source(DType dtype, Shape shape, const Strides& strides, const void* data, nb::object keep) {
  const size_t element_bytes = static_cast<size_t>(bits_of(dtype)) / 8;
  const auto count = static_cast<uint64_t>(element_count(shape));
  Source source;
  source.view = {dtype, std::move(shape), static_cast<const std::byte*>(data), count * element_bytes};
  source.keep = std::move(keep);
  if (count == 0 || is_contiguous(source.view.shape, strides, element_bytes)) return source;
  source.packed.resize(source.view.bytes);
  {
    nb::gil_scoped_release released;
    pack(source.packed.data(), source.view.data, source.view.shape, strides, 0, element_bytes);
  }
  source.view.data = source.packed.data();
  source.keep.reset();
  return source;
}

template <typename List>
List list_from(nb::handle sequence) {
  List list;
  for (nb::handle size : sequence) list.push_back(nb::cast<int64_t>(size));
  return list;
}

// What is known of Python's types and dtypes, which are few: each is looked at once, and held from then on.
template <typename Value>
class Known {
 public:
  template <typename Look>
  const Value& of(nb::handle object, const Look& look) {
    const auto found = values_.find(object.ptr());
    if (found != values_.end()) return found->second;
    const Value value = look();
    object.inc_ref();
    return values_.emplace(object.ptr(), value).first->second;
  }

 private:
  std::unordered_map<PyObject*, Value> values_;
};

DType dtype_of(const std::string& name, nb::handle dtype) {
  static Known<std::optional<DType>>& known = *new Known<std::optional<DType>>;
  const auto found = known.of(dtype, [&] {
    if (nb::hasattr(dtype, "name")) return dtype_from_numpy(nb::cast<std::string>(dtype.attr("name")));
    const std::string spelled = nb::cast<std::string>(nb::str(dtype));  // "torch.bfloat16"
    return dtype_from_numpy(spelled.substr(spelled.find('.') + 1));
  });
  if (found) return *found;
  const std::string spelled = nb::cast<std::string>(nb::str(dtype));
  refuse(ErrorCode::kWrongDtype, name,
         fmt::format("its dtype {} is not one that tensors have here", spelled));
}

Strides row_major(const Shape& shape, DType dtype) {
  Strides strides(shape.size());
  int64_t step = bits_of(dtype) / 8;
  for (size_t i = shape.size(); i-- > 0; step *= shape[i]) strides[i] = step;
  return strides;
}

Source read_torch(const std::string& name, nb::handle tensor) {
  nb::object keep = nb::borrow(tensor);
  if (nb::cast<bool>(tensor.attr("is_neg")())) keep = tensor.attr("detach")().attr("resolve_neg")();
  if (!nb::cast<bool>(tensor.attr("is_cpu"))) {
    if (nb::cast<bool>(tensor.attr("is_meta")))
      refuse(ErrorCode::kInvalidArgument, name, "expected a tensor with data, got one on the meta device");
    keep = keep.attr("detach")().attr("cpu")();
  }
  const DType dtype = dtype_of(name, keep.attr("dtype"));
  auto shape = list_from<Shape>(keep.attr("shape"));
  const auto address = nb::cast<uintptr_t>(keep.attr("data_ptr")());
  if (address == 0 && element_count(shape) > 0)
    refuse(ErrorCode::kInvalidArgument, name,
           "expected a tensor with data, got one without (a fake tensor?)");
  const bool contiguous = nb::cast<bool>(keep.attr("is_contiguous")());
  Strides strides = contiguous ? row_major(shape, dtype) : list_from<Strides>(keep.attr("stride")());
  if (!contiguous) {
    for (int64_t& stride : strides) stride *= bits_of(dtype) / 8;
  }
  return make_source(dtype, std::move(shape), strides, reinterpret_cast<const void*>(address),
                     std::move(keep));
}

// What `__array_struct__` points at, as numpy's array interface lays it down.
struct ArrayInterface {
  int version, dimensions;
  char kind;
  int element_bytes, flags;
  const Py_ssize_t* shape;
  const Py_ssize_t* strides;  // in bytes
  const void* data;
};
constexpr int kContiguous = 0x1, kNativeByteOrder = 0x200;

// numpy arrays whose dtype is ml_dtypes' speak neither DLPack nor the buffer protocol.
Source read_numpy(const std::string& name, nb::handle array) {
  const DType dtype = dtype_of(name, array.attr("dtype"));
  const nb::object capsule = array.attr("__array_struct__");
  const auto* facts = static_cast<const ArrayInterface*>(PyCapsule_GetPointer(capsule.ptr(), nullptr));
  if (!facts) throw nb::python_error();
  if (facts->version != 2 || !(facts->flags & kNativeByteOrder))
    refuse(ErrorCode::kWrongDtype, name, "expected elements in this machine's byte order");
  Shape shape;
  for (int i = 0; i < facts->dimensions; ++i) shape.push_back(facts->shape[i]);
  const bool contiguous = (facts->flags & kContiguous) != 0;
  const Strides strides =
      contiguous ? row_major(shape, dtype) : Strides(facts->strides, facts->strides + facts->dimensions);
  return make_source(dtype, shape, strides, facts->data, nb::borrow(array));
}

Source read_dlpack(const std::string& name, nb::handle tensor) {
  nb::object plain = nb::borrow(tensor);
  if (nb::hasattr(plain, "detach"))
    plain = plain.attr("detach")();  // DLPack refuses tensors that record gradients
  nb::ndarray<nb::ro> array;
  if (!nb::try_cast(plain, array)) {
    refuse(ErrorCode::kInvalidArgument, name,
           fmt::format("expected a tensor of torch, numpy or jax, or anything with DLPack or the buffer "
                       "protocol, got {}",
                       nb::cast<std::string>(nb::str(nb::handle(tensor.type())))));
  }
  if (array.device_type() != nb::device::cpu::value)
    refuse(ErrorCode::kInvalidArgument, name, "expected data on the CPU, got another device");
  const auto dtype = dtype_from_dlpack(array.dtype());
  if (!dtype) refuse(ErrorCode::kWrongDtype, name, "its dtype is not one that tensors have here");
  Shape shape;
  Strides strides;
  for (size_t i = 0; i < array.ndim(); ++i) {
    shape.push_back(static_cast<int64_t>(array.shape(i)));
    strides.push_back(array.stride(i) * (bits_of(*dtype) / 8));
  }
  const void* data = array.data();
  if (!data && element_count(shape) > 0) {
    refuse(
        ErrorCode::kInvalidArgument, name,
        fmt::format("expected a tensor with memory of its own, got {} (of a DTensor, give full_tensor() or "
                    "to_local())",
                    nb::cast<std::string>(nb::str(nb::handle(tensor.type())))));
  }
  return make_source(*dtype, std::move(shape), strides, data, nb::cast(std::move(array)));
}

enum class Kind : uint8_t { kTorch, kNumpy, kBytes, kOther };

Kind kind_of(nb::handle tensor) {
  static Known<Kind>& known = *new Known<Kind>;
  const nb::handle type = tensor.type();
  return known.of(type, [&] {
    const std::string module = nb::cast<std::string>(type.attr("__module__"));
    // Other classes of torch's kind keep their data elsewhere: DLPack or an error says so.
    if (module == "torch" || module == "torch.nn.parameter") return Kind::kTorch;
    if (nb::hasattr(type, "__array_struct__")) return Kind::kNumpy;
    return PyBytes_Check(tensor.ptr()) || PyByteArray_Check(tensor.ptr()) ? Kind::kBytes : Kind::kOther;
  });
}

Source read_any(const std::string& name, nb::handle tensor) {
  switch (kind_of(tensor)) {
    case Kind::kTorch:
      return read_torch(name, tensor);
    case Kind::kNumpy:
      return read_numpy(name, tensor);
    case Kind::kBytes:
      return read_dlpack(name, nb::steal(PyMemoryView_FromObject(tensor.ptr())));
    case Kind::kOther:
      break;
  }
  return read_dlpack(name, tensor);
}

// The same bytes under another element type or shape.
void reinterpret(const std::string& name, const ReadAs& as, TensorView& view) {
  if (as.dtype) {
    const auto dtype = dtype_from_any(*as.dtype);
    if (!dtype)
      refuse(ErrorCode::kWrongDtype, name, fmt::format("expected a dtype such as BF16, got {}", *as.dtype));
    view.dtype = *dtype;
    const int64_t element_bytes = std::max(bits_of(*dtype) / 8, 1);
    if (!as.shape) view.shape = {static_cast<int64_t>(view.bytes) / element_bytes};
  }
  if (as.shape) view.shape = *as.shape;
  const auto bytes = bytes_of(view.dtype, static_cast<uint64_t>(element_count(view.shape)));
  if (bytes != view.bytes)
    refuse(ErrorCode::kWrongShape, name,
           fmt::format("expected {} bytes for {} {}, got {}", bytes.value_or(0), to_string(view.dtype),
                       to_string(view.shape), view.bytes));
}

}  // namespace

Source read_source(const std::string& name, nb::handle tensor, const ReadAs& as) {
  Source source = read_any(name, tensor);
  if (as.dtype || as.shape) reinterpret(name, as, source.view);
  return source;
}

}  // namespace liveweight::python
