#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "base/name_table.h"
#include "liveweight/checkpoint.h"

namespace liveweight {
namespace {

using simdjson::dom::element;

constexpr uint64_t kLargestHeader = 100'000'000;
constexpr int64_t kLargestOffset = int64_t{1} << 53;
constexpr int64_t kLargestElementCount = int64_t{1} << 60;

class HeaderParser {
 public:
  HeaderParser(const std::string& file, uint64_t data_bytes) : file_(file), data_bytes_(data_bytes) {}

  Result<SafetensorsHeader> parse(std::string_view json) {
    simdjson::dom::parser parser;
    const simdjson::padded_string padded(json);
    element root;
    if (const auto error = parser.parse(padded).get(root)) {
      return bad(fmt::format("the header is not JSON in UTF-8: {}", simdjson::error_message(error)));
    }
    simdjson::dom::object object;
    if (root.get(object)) return bad("the header is not a JSON object");
    std::shared_ptr<char[]> names(new char[json.size()]);
    next_name_ = names.get();
    header_.names = std::move(names);
    header_.tensors.reserve(object.size());
    bool has_metadata = false;
    for (const auto& field : object) {
      if (field.key != "__metadata__") {
        LW_TRY(add_tensor(field.key, field.value));
        continue;
      }
      if (std::exchange(has_metadata, true)) return bad("__metadata__ is there twice");
      LW_TRY(add_metadata(field.value));
    }
    LW_TRY(check_names());
    LW_TRY(check_offsets());
    return std::move(header_);
  }

 private:
  tl::unexpected<Error> bad(const std::string& what, std::string_view tensor = {}) const {
    std::vector<std::string> names{file_};
    if (!tensor.empty()) names.emplace_back(tensor);
    return fail(ErrorCode::kBadCheckpoint, fmt::format("{}: {}", file_, what), std::move(names));
  }

  Status add_metadata(const element& value) {
    simdjson::dom::object object;
    if (value.get(object)) return bad("__metadata__: expected an object of strings");
    for (const auto& field : object) {
      std::string_view text;
      if (field.value.get(text)) return bad(fmt::format("__metadata__.{}: expected a string", field.key));
      if (!header_.metadata.emplace(field.key, text).second) {
        return bad(fmt::format("__metadata__.{} is there twice", field.key));
      }
    }
    return {};
  }

  Status add_tensor(std::string_view name, const element& value) {
    simdjson::dom::object object;
    if (value.get(object)) return bad(fmt::format("tensor {}: expected an object", name), name);
    SafetensorsEntry entry;
    entry.name = kept(name);
    bool has_dtype = false, has_shape = false, has_offsets = false;
    for (const auto& field : object) {
      bool& seen = field.key == "dtype" ? has_dtype : field.key == "shape" ? has_shape : has_offsets;
      if (field.key != "dtype" && field.key != "shape" && field.key != "data_offsets") {
        return bad(fmt::format("tensor {}: unknown field {}", name, field.key), name);
      }
      if (seen) return bad(fmt::format("tensor {}: {} is there twice", name, field.key), name);
      seen = true;
      if (field.key == "dtype") LW_TRY(read_dtype(field.value, entry));
      if (field.key == "shape") LW_TRY(read_shape(field.value, entry));
      if (field.key == "data_offsets") LW_TRY(read_offsets(field.value, entry));
    }
    if (!has_dtype || !has_shape || !has_offsets) {
      return bad(fmt::format("tensor {}: expected dtype, shape and data_offsets", name), name);
    }
    LW_TRY(check_size(entry));
    header_.tensors.push_back(std::move(entry));
    return {};
  }

  // A copy, which lives as long as the header. Names are never longer than the JSON that they are in.
  std::string_view kept(std::string_view name) {
    const char* begin = next_name_;
    next_name_ = std::copy(name.begin(), name.end(), next_name_);
    return {begin, name.size()};
  }

  Status read_dtype(const element& value, SafetensorsEntry& entry) const {
    std::string_view text;
    if (value.get(text))
      return bad(fmt::format("tensor {}: dtype: expected a string", entry.name), entry.name);
    const auto dtype = dtype_from_string(text);
    if (!dtype) return bad(fmt::format("tensor {}: unknown dtype {}", entry.name, text), entry.name);
    entry.dtype = *dtype;
    return {};
  }

  Status read_shape(const element& value, SafetensorsEntry& entry) const {
    simdjson::dom::array array;
    if (value.get(array))
      return bad(fmt::format("tensor {}: shape: expected a list", entry.name), entry.name);
    int64_t count = 1;
    for (const element& item : array) {
      int64_t extent = 0;
      if (item.get(extent) || extent < 0) {
        return bad(fmt::format("tensor {}: shape: expected integers from 0 to 2^63", entry.name), entry.name);
      }
      if (__builtin_mul_overflow(count, extent, &count) || count > kLargestElementCount) {
        return bad(fmt::format("tensor {}: shape: the product of its extents overflows", entry.name),
                   entry.name);
      }
      entry.shape.push_back(extent);
    }
    return {};
  }

  Status read_offsets(const element& value, SafetensorsEntry& entry) const {
    simdjson::dom::array array;
    int64_t offsets[2] = {-1, -1};
    size_t count = 0;
    bool good = !value.get(array);
    if (good) {
      for (const element& item : array) {
        int64_t offset = -1;
        good = good && count < 2 && !item.get(offset) && offset >= 0 && offset <= kLargestOffset;
        if (count < 2) offsets[count] = offset;
        ++count;
      }
    }
    if (!good || count != 2 || offsets[0] > offsets[1]) {
      return bad(fmt::format("tensor {}: data_offsets: expected [begin, end] with 0 <= begin <= end <= 2^53",
                             entry.name),
                 entry.name);
    }
    entry.begin = static_cast<uint64_t>(offsets[0]);
    entry.end = static_cast<uint64_t>(offsets[1]);
    return {};
  }

  Status check_size(const SafetensorsEntry& entry) const {
    const auto bytes = bytes_of(entry.dtype, static_cast<uint64_t>(element_count(entry.shape)));
    if (!bytes) {
      return bad(fmt::format("tensor {}: {} of {} are not whole bytes", entry.name, to_string(entry.shape),
                             to_string(entry.dtype)),
                 entry.name);
    }
    if (entry.end - entry.begin == *bytes) return {};
    return bad(fmt::format("tensor {}: {} of {} take {} bytes, but data_offsets hold {}", entry.name,
                           to_string(entry.shape), to_string(entry.dtype), *bytes, entry.end - entry.begin),
               entry.name);
  }

  Status check_names() const {
    const auto name_of = [&](uint32_t entry) { return header_.tensors[entry].name; };
    NameTable names;
    names.reserve(header_.tensors.size(), name_of);
    for (uint32_t i = 0; i < header_.tensors.size(); ++i) {
      if (names.add(name_of(i), i, name_of)) return bad(fmt::format("tensor {} is there twice", name_of(i)));
    }
    return {};
  }

  // Contiguous from 0, with neither hole nor overlap, to the end of the file.
  Status check_offsets() {
    const auto before = [](const auto& a, const auto& b) {
      return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
    };
    if (!std::is_sorted(header_.tensors.begin(), header_.tensors.end(), before)) {
      std::sort(header_.tensors.begin(), header_.tensors.end(), before);
    }
    uint64_t at = 0;
    for (const SafetensorsEntry& entry : header_.tensors) {
      if (entry.begin != at) {
        return bad(
            fmt::format("tensor {}: data_offsets begin at {}, expected {}: {}", entry.name, entry.begin, at,
                        entry.begin < at ? "it overlaps another tensor" : "there is a hole before it"),
            entry.name);
      }
      at = entry.end;
    }
    if (at == data_bytes_) return {};
    return bad(fmt::format("the tensors take {} bytes of data, but the file has {}: it is {}", at,
                           data_bytes_, at > data_bytes_ ? "truncated" : "too long"));
  }

  const std::string& file_;
  const uint64_t data_bytes_;
  SafetensorsHeader header_;
  char* next_name_ = nullptr;
};

}  // namespace

Result<SafetensorsHeader> parse_safetensors_header(std::span<const std::byte> head, uint64_t file_bytes,
                                                   const std::string& file) {
  const auto bad = [&](const std::string& what) {
    return fail(ErrorCode::kBadCheckpoint, fmt::format("{}: {}", file, what), {file});
  };
  if (head.size() < 8) return bad(fmt::format("expected at least 8 bytes, got {}", head.size()));
  uint64_t length = 0;
  std::memcpy(&length, head.data(), sizeof length);
  if (length > kLargestHeader) {
    return bad(fmt::format("the header's length is {}, over the limit of {}", length, kLargestHeader));
  }
  if (length > file_bytes - 8 || length > head.size() - 8) {
    return bad(
        fmt::format("the header's length is {}, past the end of the file of {} bytes", length, file_bytes));
  }
  const std::string_view json(reinterpret_cast<const char*>(head.data()) + 8, length);
  LW_ASSIGN(SafetensorsHeader header, HeaderParser(file, file_bytes - 8 - length).parse(json));
  header.data_begin = 8 + length;
  return header;
}

}  // namespace liveweight
