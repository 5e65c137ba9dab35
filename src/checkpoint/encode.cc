#include "checkpoint/encode.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/threads.h"

namespace liveweight {

Blob encode_xor(const TensorView& old, const TensorView& updated) {
  constexpr uint64_t kPiece = uint64_t{1} << 20;
  Blob blob{std::make_shared_for_overwrite<std::byte[]>(old.bytes), old.bytes};
  const auto pieces = static_cast<int64_t>((old.bytes + kPiece - 1) / kPiece);
  ThreadPool::shared().parallel_for(pieces, [&](int64_t piece) {
    const uint64_t begin = static_cast<uint64_t>(piece) * kPiece, end = std::min(begin + kPiece, old.bytes);
    for (uint64_t at = begin; at < end; ++at) blob.data[at] = old.data[at] ^ updated.data[at];
  });
  return blob;
}

Result<std::vector<std::byte>> encode_overwrite(const TensorDelta& delta, const TensorView& old) {
  const auto cell = static_cast<uint64_t>(cell_bytes(delta.dtype));
  std::vector<uint32_t> positions;
  std::vector<std::byte> values;
  for (size_t i = 0; i < delta.positions.size(); ++i) {
    for (uint64_t b = 0; b < cell; ++b) {
      const uint64_t at = delta.positions[i] * cell + b;
      const std::byte value = delta.values[i * cell + b];
      if (value == old.data[at]) continue;
      if (at > std::numeric_limits<uint32_t>::max()) {
        return fail(ErrorCode::kUnsupported,
                    fmt::format("tensor {}: overwrite reaches the first 4 GiB of a tensor, byte {} changed; "
                                "choose xor or indices",
                                delta.name, at),
                    {delta.name});
      }
      positions.push_back(static_cast<uint32_t>(at));
      values.push_back(value);
    }
  }
  const auto count = static_cast<uint32_t>(positions.size());
  std::vector<std::byte> out(sizeof count + positions.size() * sizeof(uint32_t) + values.size());
  std::memcpy(out.data(), &count, sizeof count);
  if (count == 0) return out;
  std::memcpy(out.data() + sizeof count, positions.data(), positions.size() * sizeof(uint32_t));
  std::copy(values.begin(), values.end(), out.end() - static_cast<ptrdiff_t>(values.size()));
  return out;
}

}  // namespace liveweight
