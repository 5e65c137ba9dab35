#include "liveweight/scheme.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

namespace liveweight {
namespace {

struct SchemeName {
  std::string_view name;
  Element element;
  Granularity granularity;
};

constexpr int64_t kDefaultGroup = 32;
constexpr int64_t kBlockEdge = 128;
constexpr int64_t kLargestGroup = 1 << 20;

// The first name of a scheme is the one it is printed with.
constexpr std::array<SchemeName, 8> kSchemes = {{
    {"none", Element::kHighPrecision, Granularity::kNone},
    {"int8_per_channel", Element::kInt8, Granularity::kRow},
    {"int8_per_channel_weight_only", Element::kInt8, Granularity::kRow},
    {"int8_per_tensor", Element::kInt8, Granularity::kTensor},
    {"int4_per_group", Element::kInt4, Granularity::kGroup},
    {"fp8_per_tensor", Element::kE4M3, Granularity::kTensor},
    {"fp8_per_channel", Element::kE4M3, Granularity::kRow},
    {"fp8_per_block", Element::kE4M3, Granularity::kBlock},
}};

constexpr std::array<std::pair<Profile, std::string_view>, 12> kProfiles = {{
    {Profile::kNone, "none"},
    {Profile::kTorchao, "torchao"},
    {Profile::kTorchaoIntx, "torchao-intx"},
    {Profile::kTorchaoFused, "torchao-fused"},
    {Profile::kTorchaoTinygemm, "torchao-tinygemm"},
    {Profile::kCompressedTensors, "compressed-tensors"},
    {Profile::kCompressedTensorsAsymmetric, "compressed-tensors-asymmetric"},
    {Profile::kVllm, "vllm"},
    {Profile::kPrimeRl, "prime-rl"},
    {Profile::kSlime, "slime"},
    {Profile::kNemo, "nemo"},
    {Profile::kVerl, "verl"},
}};

const SchemeName* find_scheme(std::string_view name) {
  const auto found =
      std::find_if(kSchemes.begin(), kSchemes.end(), [&](const SchemeName& s) { return s.name == name; });
  return found == kSchemes.end() ? nullptr : &*found;
}

std::string known_schemes() {
  std::string names;
  for (const SchemeName& scheme : kSchemes) {
    if (scheme.name == "int8_per_channel_weight_only") continue;
    names += names.empty() ? "" : ", ";
    names += scheme.name;
  }
  return names;
}

std::optional<Profile> find_profile(std::string_view name) {
  for (const auto& [profile, known] : kProfiles) {
    if (known == name && profile != Profile::kNone) return profile;
  }
  return std::nullopt;
}

Result<int64_t> parse_group(std::string_view text, std::string_view whole) {
  int64_t size = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size);
  if (error == std::errc() && end == text.data() + text.size() && size >= 1 && size <= kLargestGroup)
    return size;
  return fail(
      ErrorCode::kInvalidArgument,
      fmt::format("scheme {}: expected a group size from 1 to {}, got {}", whole, kLargestGroup, text));
}

Result<Profile> parse_profile(std::string_view text, const Scheme& scheme, std::string_view whole) {
  const std::vector<Profile> allowed = profiles_of(scheme.element, scheme.granularity);
  const std::optional<Profile> profile = find_profile(text);
  if (profile && std::find(allowed.begin(), allowed.end(), *profile) != allowed.end()) return *profile;
  std::string names;
  for (const Profile known : allowed)
    names += fmt::format("{}{}", names.empty() ? "" : ", ", to_string(known));
  return fail(ErrorCode::kInvalidArgument, fmt::format("scheme {}: expected a profile of {}, got {}", whole,
                                                       names.empty() ? "none" : names, text));
}

}  // namespace

std::vector<Profile> profiles_of(Element element, Granularity granularity) {
  using enum Profile;
  if (element == Element::kInt8 && granularity == Granularity::kRow) {
    return {kTorchao, kTorchaoIntx, kCompressedTensors, kVllm};
  }
  if (element == Element::kInt8) return {kCompressedTensors};
  if (element == Element::kInt4) {
    return {kCompressedTensors, kCompressedTensorsAsymmetric, kTorchao, kTorchaoIntx, kTorchaoTinygemm};
  }
  if (element != Element::kE4M3) return {};
  if (granularity == Granularity::kTensor) return {kVllm, kTorchao, kCompressedTensors};
  if (granularity == Granularity::kRow) return {kVllm, kTorchao, kTorchaoFused, kCompressedTensors};
  return {kVllm, kTorchao, kCompressedTensors, kPrimeRl, kSlime, kNemo, kVerl};
}

Result<Scheme> parse_scheme(std::string_view whole) {
  const size_t at = whole.find('@');
  const std::string_view head = whole.substr(0, at);
  const size_t colon = head.find(':');
  const std::string_view name = head.substr(0, colon);
  if (name == "mxfp8" || name == "mxfp4" || name == "nvfp4" || name == "nvfp4_per_token") {
    return fail(ErrorCode::kUnsupported,
                fmt::format("scheme {}: not supported; known are {}", name, known_schemes()));
  }
  const SchemeName* found = find_scheme(name);
  if (!found) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("scheme {}: expected one of {}", whole, known_schemes()));
  }
  Scheme scheme{found->element, found->granularity, 0, Profile::kNone};
  if (scheme.granularity == Granularity::kGroup) scheme.size = kDefaultGroup;
  if (scheme.granularity == Granularity::kBlock) scheme.size = kBlockEdge;
  if (colon != std::string_view::npos) {
    if (scheme.granularity != Granularity::kGroup) {
      return fail(ErrorCode::kInvalidArgument, fmt::format("scheme {}: {} takes no group size", whole, name));
    }
    LW_ASSIGN(scheme.size, parse_group(head.substr(colon + 1), whole));
  }
  if (scheme.quantizes()) scheme.profile = profiles_of(scheme.element, scheme.granularity)[0];
  if (at != std::string_view::npos) {
    LW_ASSIGN(scheme.profile, parse_profile(whole.substr(at + 1), scheme, whole));
  }
  return scheme;
}

std::string to_string(const Scheme& scheme) {
  std::string text = "none";
  for (const SchemeName& known : kSchemes) {
    if (known.element != scheme.element || known.granularity != scheme.granularity) continue;
    text = known.name;
    break;
  }
  if (!scheme.quantizes()) return text;
  const bool other_block = scheme.granularity == Granularity::kBlock && scheme.size != kBlockEdge;
  if ((scheme.granularity == Granularity::kGroup && scheme.size != kDefaultGroup) || other_block) {
    text += fmt::format(":{}", scheme.size);
  }
  if (scheme.profile != profiles_of(scheme.element, scheme.granularity)[0]) {
    text += fmt::format("@{}", to_string(scheme.profile));
  }
  return text;
}

std::string_view to_string(Profile profile) {
  for (const auto& [known, name] : kProfiles) {
    if (known == profile) return name;
  }
  return "none";
}

}  // namespace liveweight
