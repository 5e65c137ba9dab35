// Just enough of the protocol buffer wire format to read a message's fields one after another.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

namespace liveweight {

struct ProtobufField {
  uint32_t number = 0;
  uint64_t value = 0;      // varint and fixed fields
  std::string_view bytes;  // length-delimited fields
  float as_float() const {
    const auto bits = static_cast<uint32_t>(value);
    float number_value = 0;
    std::memcpy(&number_value, &bits, sizeof bits);
    return number_value;
  }
};

class ProtobufReader {
 public:
  explicit ProtobufReader(std::string_view bytes) : rest_(bytes) {}

  // The next field; nothing at the end or where the bytes are malformed (`failed` tells which).
  std::optional<ProtobufField> next() {
    if (rest_.empty() || failed_) return std::nullopt;
    const auto key = varint();
    if (!key || *key >> 3 == 0) return fail();
    ProtobufField field;
    field.number = static_cast<uint32_t>(*key >> 3);
    switch (*key & 7) {
      case 0:
        return number(field, varint());
      case 1:
        return number(field, fixed(8));
      case 5:
        return number(field, fixed(4));
      case 2: {
        const auto length = varint();
        if (!length || *length > rest_.size()) return fail();
        field.bytes = rest_.substr(0, *length);
        rest_.remove_prefix(*length);
        return field;
      }
      default:
        return fail();
    }
  }
  bool failed() const { return failed_; }

 private:
  std::nullopt_t fail() {
    failed_ = true;
    return std::nullopt;
  }

  std::optional<ProtobufField> number(ProtobufField field, std::optional<uint64_t> value) {
    if (!value) return fail();
    field.value = *value;
    return field;
  }

  std::optional<uint64_t> varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<uint8_t>(rest_[0]);
      rest_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    return std::nullopt;
  }

  std::optional<uint64_t> fixed(size_t bytes) {
    if (rest_.size() < bytes) return std::nullopt;
    uint64_t value = 0;
    std::memcpy(&value, rest_.data(), bytes);
    rest_.remove_prefix(bytes);
    return value;
  }

  std::string_view rest_;
  bool failed_ = false;
};

}  // namespace liveweight
