// The codes of single elements, each of another unit, from the units' scales as a slot stores them: what a
// delta needs. Bit for bit encode_integer and encode_e4m3 (profile.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "quantize/profile.h"

namespace liveweight {

inline constexpr int64_t kElementBatch = 16;  // at most 64; whole vectors of floats

struct ElementBatch {
  alignas(64) std::byte elements[kElementBatch * sizeof(float)] = {};  // of the source's dtype, side by side
  alignas(64) float scale[kElementBatch] = {};
  alignas(64) uint8_t old_code[kElementBatch] = {};  // what is there; of int4 the lower half counts
  alignas(64) uint8_t code[kElementBatch] = {};      // int4: code + 8
  // A bit for each element. `large`: it may raise its unit's scale, or be one that holds it up. `unclear`:
  // the scale does not tell the unit's numbers, and the code is not valid. `like_zeros`: the scale is one
  // that a unit of zeros has, too. `decided`: the unit's scale may come from the element whose code is there.
  uint64_t large = 0;
  uint64_t unclear = 0;
  uint64_t like_zeros = 0;
  uint64_t decided = 0;
};

// How a unit's scale alone tells how its elements are encoded, and which of them decide that scale. Scales
// grow with a unit's largest magnitude, so an element below kNearLargest of scale * divisor decides nothing.
struct ElementRule {
  ElementRule() = default;
  ElementRule(const Scheme& scheme, DType source);

  static constexpr float kNearLargest = 0.98f;

  ProfileRule rule;
  Element element = Element::kHighPrecision;
  DType source = DType::kBF16;
  bool from_scale = false;         // false: only a whole unit can be encoded (asymmetric profiles)
  bool from_largest = false;       // the factor follows from the largest magnitude, which the scale tells
  float lowest_scale = 0x1p-100f;  // of those that are clear
  float unclear_scale = -1;        // stands for two different things
  float scale_like_zeros = -1;     // for two as well, but those of zeros have no other codes
  int deciding_code = 0;           // integer codes below it, either way, are of elements that decide nothing
  float floor = 0;                 // no smaller scale is there

  // The scale of a unit whose largest magnitude is that.
  float scale_of(float magnitude) const {
    return make_unit_scale(rule, source, {magnitude, -magnitude, magnitude}).scale;
  }
  // Whether an element with that integer code can be of a unit of zeros.
  bool is_zero(uint8_t code) const { return element == Element::kInt4 ? (code & 0x0f) == 8 : code == 0; }
  // Whether an element with that code can be the one that its unit's scale comes from.
  bool may_decide(uint8_t code) const {
    if (element == Element::kE4M3) return (code & 0x7f) >= 0x7e;
    const int bits = code;
    const int value = element == Element::kInt4 ? (bits & 0x0f) - 8 : bits - (bits & 0x80) * 2;
    return value >= deciding_code || value <= -deciding_code;
  }
};

// Fills code and the bits of the first `count` elements.
void encode_elements(const ElementRule& rule, ElementBatch& batch, int64_t count);
void encode_elements_reference(const ElementRule& rule, ElementBatch& batch, int64_t count);

}  // namespace liveweight
