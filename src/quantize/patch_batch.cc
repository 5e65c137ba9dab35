#include "quantize/patch_batch.h"

#include <cmath>
#include <cstring>
#include <type_traits>

namespace liveweight {
namespace {

template <DType kDtype>
float load_scale(const std::byte* from) {
  std::conditional_t<kDtype == DType::kF32, float, uint16_t> bits;
  std::memcpy(&bits, from, sizeof bits);
  if constexpr (kDtype == DType::kF32) return bits;
  return kDtype == DType::kBF16 ? bf16_to_float(bits) : fp16_to_float(bits);
}

}  // namespace

void Batch::locate(const Patching& of, size_t first, size_t count) {
  patch_ = &of;
  first_ = first;
  count_ = static_cast<int64_t>(count);
  if (empty()) return;
  __builtin_prefetch(of.changes.positions.data() + first + kFarAhead);
  __builtin_prefetch(of.changes.values + (first + kFarAhead) * of.source_bytes);
  locate_elements(of.places, of.changes.positions.data() + first, count_, places_);
  for (uint64_t left = ~places_.keeps & kAll; left; left &= left - 1) {
    places_.code[__builtin_ctzll(left)] = reinterpret_cast<uint64_t>(nowhere_);
  }
}

void Batch::fetch() const {
  for (int64_t i = 0; i < kElementBatch; ++i) fetch(i);
}

void Batch::load(const Batch& ahead) {
  if (empty()) return;
  if (!patch_->quantizes) {
    for (int64_t i = 0; i < kElementBatch; i += 2) ahead.fetch(i);
    return;
  }
  const size_t each = patch_->source_bytes;
  const std::byte* const values = patch_->changes.values + first_ * each;
  // Copies of a size that the compiler knows are a few instructions.
  if (each == 2 && count_ == kElementBatch) {
    std::memcpy(elements_.elements, values, kElementBatch * 2);
  } else {
    std::memcpy(elements_.elements, values, static_cast<size_t>(count_) * each);
  }
  for (int64_t i = 0; i < kElementBatch; ++i) {
    if (i % 2 == 0) ahead.fetch(i);
    elements_.old_code[i] = std::to_integer<uint8_t>(*code_at(i));
  }
  if (patch_->scale_dtype == DType::kF32) return load_scales<DType::kF32>();
  return patch_->scale_dtype == DType::kBF16 ? load_scales<DType::kBF16>() : load_scales<DType::kF16>();
}

template <DType kDtype>
void Batch::load_scales() {
  for (int64_t i = 0; i < kElementBatch; ++i) elements_.scale[i] = load_scale<kDtype>(scale_at(i));
}

void Batch::run(const Batch& ahead, Questions& questions) {
  if (!patch_->quantizes) return patch_->source_bytes == 2 ? copy<2>(ahead) : copy<4>(ahead);
  if (patch_->bits == 4) {
    for (int64_t i = 0; i < kElementBatch; ++i) {
      const uint8_t code = elements_.old_code[i] & places_.mask[i];
      elements_.old_code[i] = static_cast<uint8_t>(code | code >> 4);
    }
  }
  if (patch_->rule.from_scale) {
    encode_elements(patch_->rule, elements_, count_);
  } else {
    elements_.unclear = ~uint64_t{0};
  }
  find_doubtful(questions);
  patch_->bits == 8 ? store<8>(ahead) : store<4>(ahead);
}

template <size_t kBytes>
void Batch::copy(const Batch& ahead) const {
  const std::byte* const values = patch_->changes.values + first_ * kBytes;
  for (int64_t i = 0; i < kElementBatch; ++i) {
    if (i % 2 == 1) ahead.fetch(i);
    if (i < count_) std::memcpy(code_at(i), values + static_cast<size_t>(i) * kBytes, kBytes);
  }
}

// A code that is here and not zero tells that its unit is none of zeros.
uint64_t Batch::unclear() const {
  uint64_t unclear = elements_.unclear;
  for (uint64_t left = elements_.like_zeros; left; left &= left - 1) {
    const auto i = static_cast<int64_t>(__builtin_ctzll(left));
    const bool known = (places_.keeps >> i & 1) && !patch_->rule.is_zero(elements_.old_code[i]);
    if (!known) unclear |= uint64_t{1} << i;
  }
  return unclear;
}

// Of what is not here nothing is known by its code.
void Batch::find_doubtful(Questions& questions) const {
  const uint64_t may_have_decided = elements_.decided | ~places_.keeps;
  const uint64_t unclear = this->unclear();
  uint64_t left = places_.counts & (elements_.large | unclear | may_have_decided);
  for (; left; left &= left - 1) {
    const auto i = static_cast<int64_t>(__builtin_ctzll(left));
    const uint32_t position = patch_->changes.positions[first_ + static_cast<size_t>(i)];
    const float scale = elements_.scale[i];
    if (unclear >> i & 1) {
      patch_->doubtful.push_back(position);
      continue;
    }
    if (elements_.large >> i & 1) {
      const float own =
          patch_->rule.scale_of(std::fabs(load_high_precision(patch_->source, elements_.elements, i)));
      // What holds the scale up now holds it up whatever was there before.
      if (own == scale) continue;
      if (!(own < scale)) {
        patch_->doubtful.push_back(position);
        continue;
      }
    }
    if ((may_have_decided >> i & 1) && scale != patch_->rule.floor) questions.ask(*patch_, position, scale);
  }
}

template <int64_t kBits>
void Batch::store(const Batch& ahead) {
  if (kBits == 4) {
    for (int64_t i = 0; i < kElementBatch; ++i) {
      elements_.code[i] = static_cast<uint8_t>((elements_.code[i] & 0x0f) * 0x11) & places_.mask[i];
      places_.mask[i] = static_cast<uint8_t>(~places_.mask[i]);
    }
  }
  for (int64_t i = 0; i < kElementBatch; ++i) {
    if (i % 2 == 1) ahead.fetch(i);
    std::byte& there = *code_at(i);
    const std::byte code{elements_.code[i]};
    there = kBits == 8 ? code : (there & std::byte{places_.mask[i]}) | code;
  }
}

}  // namespace liveweight
