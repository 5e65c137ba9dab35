// How a parameter is quantized, by the names that vLLM's users know: `fp8_per_block@nemo`,
// `int4_per_group:128`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "liveweight/error.h"

namespace liveweight {

// The type of one quantized element. kHighPrecision keeps the checkpoint's dtype.
enum class Element : uint8_t { kHighPrecision, kInt8, kInt4, kE4M3 };

// What one scale covers: the whole matrix, a row of it, `size` neighbours in a row, or `size` x `size`
// elements.
enum class Granularity : uint8_t { kNone, kTensor, kRow, kGroup, kBlock };

// Whose numerics, to the bit (docs/quantization.md). The scheme's default comes first in `profiles_of`.
enum class Profile : uint8_t {
  kNone,
  kTorchao,
  kTorchaoIntx,
  kTorchaoFused,
  kTorchaoTinygemm,
  kCompressedTensors,
  kCompressedTensorsAsymmetric,
  kVllm,
  kPrimeRl,
  kSlime,
  kNemo,
  kVerl,
};

struct Scheme {
  Element element = Element::kHighPrecision;
  Granularity granularity = Granularity::kNone;
  int64_t size = 0;  // elements along a group or a block's edge; 0 for the others
  Profile profile = Profile::kNone;

  bool operator==(const Scheme&) const = default;
  bool quantizes() const { return element != Element::kHighPrecision; }
};

// "none", "int8_per_channel", "int4_per_group[:G]", "int8_per_tensor", "fp8_per_tensor", "fp8_per_channel",
// "fp8_per_block", each with an optional "@profile". An error lists what is known.
Result<Scheme> parse_scheme(std::string_view name);

// The shortest name that parses to the same scheme.
std::string to_string(const Scheme& scheme);
std::string_view to_string(Profile profile);

// The profiles a scheme can have, its default first.
std::vector<Profile> profiles_of(Element element, Granularity granularity);

}  // namespace liveweight
