// Weight versions and digests.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace liveweight {

// `number` grows by one with every commit or rollback and never repeats; `label` is the caller's (a rollback
// brings the old label back). 0 is no version: nothing was loaded yet.
struct Version {
  uint64_t number = 0;
  std::string label;
};

// XXH3-128 of kernel-format content: independent of how, in which order, or at which address it was loaded.
struct Digest {
  std::array<uint8_t, 16> bytes{};
  bool operator==(const Digest&) const = default;
  std::string hex() const;
};

}  // namespace liveweight
