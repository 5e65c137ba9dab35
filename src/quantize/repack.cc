#include "quantize/repack.h"

#include <cstring>

#include "tensor/codec.h"

namespace liveweight {

std::vector<std::byte> unpack_int4(const Int4Rows& codes) {
  std::vector<std::byte> out(static_cast<size_t>(codes.rows * codes.cols));
  unpack_int4(codes, out.data());
  return out;
}

std::vector<std::byte> pair_int4(const Int4Rows& codes) {
  const int64_t bytes = codes.cols / 2;
  std::vector<std::byte> out(static_cast<size_t>(codes.rows * bytes));
  for (int64_t row = 0; row < codes.rows; ++row) {
    const std::byte* from = codes.data + row * codes.row_bytes;
    for (int64_t i = 0; i < bytes; ++i) out[row * bytes + i] = from[i] ^ std::byte{0x88};
  }
  return out;
}

std::vector<std::byte> pack_zero_points(const std::byte* zero_points, int64_t rows, int64_t cols) {
  std::vector<uint32_t> words(static_cast<size_t>((rows + 7) / 8 * cols));
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t col = 0; col < cols; ++col) {
      const int zero = static_cast<int8_t>(zero_points[row * cols + col]);
      words[row / 8 * cols + col] |= static_cast<uint32_t>(zero + 8) << (row % 8 * 4);
    }
  }
  std::vector<std::byte> out(words.size() * sizeof(uint32_t));
  if (!out.empty()) std::memcpy(out.data(), words.data(), out.size());
  return out;
}

std::vector<std::byte> transpose(const std::byte* data, int64_t rows, int64_t cols, int64_t element_bytes) {
  std::vector<std::byte> out(static_cast<size_t>(rows * cols * element_bytes));
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t col = 0; col < cols; ++col) {
      std::memcpy(out.data() + (col * rows + row) * element_bytes, data + (row * cols + col) * element_bytes,
                  static_cast<size_t>(element_bytes));
    }
  }
  return out;
}

std::vector<std::byte> widen(DType dtype, const std::byte* data, int64_t count) {
  std::vector<std::byte> out(static_cast<size_t>(count) * sizeof(float));
  for (int64_t i = 0; i < count; ++i) {
    const float value = load_high_precision(dtype, data, i);
    std::memcpy(out.data() + i * sizeof value, &value, sizeof value);
  }
  return out;
}

}  // namespace liveweight
