#include "quantize/patch_batch.h"

#include <cmath>
#include <cstring>

namespace liveweight {

void Batch::locate(const Patching& of, size_t first, size_t count) {
  patch_ = &of;
  first_ = first;
  count_ = static_cast<int64_t>(count);
  if (!empty()) locate_elements(of.places, of.changes.positions.data() + first, count_, places_);
}

// Copies of a size that the compiler knows are one instruction.
void Batch::run(Lines ahead, Questions& questions) {
  if (!patch_->quantizes) {
    ahead = patch_->source_bytes == 2 ? copy<2>(ahead) : copy<4>(ahead);
    return ahead.fetch_rest();
  }
  ahead = patch_->bits == 8 ? load<8>(ahead) : load<4>(ahead);
  load_scales();
  if (patch_->rule.from_scale) {
    encode_elements(patch_->rule, elements_, count_);
  } else {
    elements_.unclear = ~uint64_t{0};
  }
  find_doubtful(questions);
  ahead = patch_->bits == 8 ? store<8>(ahead) : store<4>(ahead);
  ahead.fetch_rest();
}

template <size_t kBytes>
Lines Batch::copy(Lines ahead) const {
  const std::byte* const values = patch_->changes.values + first_ * kBytes;
  std::byte* const slot = patch_->slot;
  const uint64_t keeps = places_.keeps;
  const int64_t count = count_;
  for (int64_t i = 0; i < count; ++i) {
    ahead.fetch_next();
    if (keeps >> i & 1) std::memcpy(slot + places_.code[i], values + static_cast<size_t>(i) * kBytes, kBytes);
  }
  return ahead;
}

template <int64_t kBits>
Lines Batch::load(Lines ahead) {
  const size_t each = patch_->source_bytes;
  const std::byte* const values = patch_->changes.values + first_ * each;
  if (each == 2 && count_ == kElementBatch) {
    std::memcpy(elements_.elements, values, kElementBatch * 2);
  } else {
    std::memcpy(elements_.elements, values, static_cast<size_t>(count_) * each);
  }
  const std::byte* const slot = patch_->slot;
  const uint64_t keeps = places_.keeps;
  const int64_t count = count_;
  for (int64_t i = 0; i < count; ++i) {
    if (i % 2 == 0) ahead.fetch_next();
    // Those of rows that are not kept may be written by others now.
    if (!(keeps >> i & 1)) continue;
    auto code = std::to_integer<uint8_t>(slot[places_.code[i]]);
    if (kBits == 4) {
      code &= places_.mask[i];
      code |= code >> 4;
    }
    elements_.old_code[i] = code;
  }
  return ahead;
}

void Batch::load_scales() {
  const std::byte* const slot = patch_->slot;
  const int64_t count = count_;
  if (patch_->scale_dtype == DType::kF32) {
    for (int64_t i = 0; i < count; ++i) {
      std::memcpy(&elements_.scale[i], slot + places_.scale[i], sizeof(float));
    }
    return;
  }
  uint16_t halves[kElementBatch];
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(&halves[i], slot + places_.scale[i], sizeof halves[i]);
  }
  for (int64_t i = 0; i < count; ++i) {
    elements_.scale[i] =
        patch_->scale_dtype == DType::kBF16 ? bf16_to_float(halves[i]) : fp16_to_float(halves[i]);
  }
}

// Of what is not here nothing is known by its code.
void Batch::find_doubtful(Questions& questions) const {
  const uint64_t may_have_decided = elements_.decided | ~places_.keeps;
  uint64_t left = places_.counts & (elements_.large | elements_.unclear | may_have_decided);
  for (; left; left &= left - 1) {
    const auto i = static_cast<int64_t>(__builtin_ctzll(left));
    const uint32_t position = patch_->changes.positions[first_ + static_cast<size_t>(i)];
    const float scale = elements_.scale[i];
    if (elements_.unclear >> i & 1) {
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
Lines Batch::store(Lines ahead) {
  if (kBits == 4) {
    for (uint8_t& code : elements_.code) code = static_cast<uint8_t>((code & 0x0f) * 0x11);
  }
  std::byte* const slot = patch_->slot;
  const uint64_t keeps = places_.keeps;
  const int64_t count = count_;
  for (int64_t i = 0; i < count; ++i) {
    if (i % 2 == 0) ahead.fetch_next();
    if (!(keeps >> i & 1)) continue;
    std::byte& there = slot[places_.code[i]];
    const std::byte code{elements_.code[i]};
    if constexpr (kBits == 8) {
      there = code;
    } else {
      const std::byte mask{places_.mask[i]};
      there = (there & ~mask) | (code & mask);
    }
  }
  return ahead;
}

}  // namespace liveweight
