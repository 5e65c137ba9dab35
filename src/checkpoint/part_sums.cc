#include "checkpoint/part_sums.h"

#include <algorithm>
namespace liveweight {
namespace {

constexpr uint64_t kWord = sizeof(uint64_t);

uint64_t mix(uint64_t word, uint64_t place) {
  uint64_t x = word ^ (place * 0x9e3779b97f4a7c15u);
  x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
  x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
  return x ^ x >> 32;
}

// The last word may be short.
uint64_t word_at(std::span<const std::byte> tensor, uint64_t index) {
  uint64_t word = 0;
  std::memcpy(&word, tensor.data() + index * kWord, std::min<uint64_t>(kWord, tensor.size() - index * kWord));
  return word;
}

}  // namespace

uint64_t sum_of_part(std::span<const std::byte> tensor, uint64_t first, uint64_t part) {
  const uint64_t end = std::min<uint64_t>((part + 1) * kPartBytes, tensor.size());
  const uint64_t place = first * kPartBytes / kWord;
  uint64_t index = part * kPartBytes / kWord, sum = 0;
  for (; (index + 1) * kWord <= end; ++index) {
    uint64_t word;
    std::memcpy(&word, tensor.data() + index * kWord, kWord);
    sum += mix(word, place + index);
  }
  return index * kWord < end ? sum + mix(word_at(tensor, index), place + index) : sum;
}

void add_change(std::span<const std::byte> tensor, uint64_t first, const TensorDelta& delta,
                std::span<uint64_t> sums, std::vector<uint64_t>& touched) {
  const auto cell = static_cast<uint64_t>(cell_bytes(delta.dtype));
  const uint64_t place = first * kPartBytes / kWord;
  for (size_t i = 0; i < delta.positions.size();) {
    const uint64_t index = delta.positions[i] * cell / kWord;
    const uint64_t old = word_at(tensor, index);
    uint64_t updated = old;
    for (; i < delta.positions.size(); ++i) {
      const uint64_t at = delta.positions[i] * cell;
      if (at / kWord != index) break;
      std::memcpy(reinterpret_cast<std::byte*>(&updated) + at % kWord, delta.values.data() + i * cell, cell);
    }
    const uint64_t part = first + index * kWord / kPartBytes;
    sums[part] += mix(updated, place + index) - mix(old, place + index);
    if (touched.empty() || touched.back() != part) touched.push_back(part);
  }
}

}  // namespace liveweight
