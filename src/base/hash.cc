#include "base/hash.h"

#include <xxhash.h>

#include <algorithm>

namespace liveweight {

struct Hasher::State {
  XXH3_state_t* xxh = XXH3_createState();
  ~State() { XXH3_freeState(xxh); }
};

Hasher::Hasher() : state_(std::make_unique<State>()) {
  XXH3_128bits_reset(state_->xxh);
}
Hasher::~Hasher() = default;

void Hasher::add(std::span<const std::byte> bytes) {
  XXH3_128bits_update(state_->xxh, bytes.data(), bytes.size());
}

void Hasher::add_text(std::string_view text) {
  add_number(static_cast<int64_t>(text.size()));
  add(std::as_bytes(std::span(text)));
}

void Hasher::add_number(int64_t number) {
  add_numbers({number});
}

void Hasher::add_numbers(std::initializer_list<int64_t> numbers) {
  add(std::as_bytes(std::span(numbers.begin(), numbers.size())));
}

std::array<uint8_t, 16> Hasher::finish() const {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_->xxh));
  std::array<uint8_t, 16> bytes{};
  std::copy(std::begin(canonical.digest), std::end(canonical.digest), bytes.begin());
  return bytes;
}

}  // namespace liveweight
