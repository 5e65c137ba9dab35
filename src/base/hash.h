// XXH3-128 over pieces.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string_view>

namespace liveweight {

class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;

  void add(std::span<const std::byte> bytes);
  void add_text(std::string_view text);  // its length, then its characters
  void add_number(int64_t number);
  void add_numbers(std::initializer_list<int64_t> numbers);  // each as add_number does
  std::array<uint8_t, 16> finish() const;                    // big-endian, as xxhsum prints it

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace liveweight
