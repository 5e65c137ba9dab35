#include "quantize/patch.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "quantize/element_batch.h"
#include "quantize/element_places.h"
#include "quantize/unit_layout.h"
#include "tensor/codec.h"

namespace liveweight {
namespace {

// How many batches a processor's outstanding fetches are spread over.
constexpr int64_t kUnderWay = 4;

// One patch, with what all of its batches need.
struct Patching {
  explicit Patching(ElementPatch& patch)
      : places(patch.region, patch.changes.cols),
        changes(patch.changes),
        slot(patch.region.slot),
        source(patch.source),
        scale_dtype(patch.region.format->scale.dtype),
        source_bytes(static_cast<size_t>(bits_of(patch.source)) / 8),
        bits(code_bits(*patch.region.format)),
        quantizes(patch.region.format->scheme.quantizes()),
        doubtful(patch.doubtful) {
    if (quantizes) rule = ElementRule(patch.region.format->scheme, patch.source);
  }

  const ElementPlaces places;
  const ElementChanges changes;
  std::byte* const slot;
  const DType source, scale_dtype;
  const size_t source_bytes;
  const int64_t bits;  // of a code
  const bool quantizes;
  ElementRule rule;
  std::vector<uint32_t>& doubtful;
};

// Elements whose old values tell whether they held their units' scales up. Each lies in a page of its own,
// whose translation takes as long as all else: read in one go, so that several are translated at once, which
// fetching them one by one beside other work does not do.
class Questions {
 public:
  void ask(const Patching& patch, uint32_t position, float scale) {
    if (!patch.changes.old) return patch.doubtful.push_back(position);
    if (asked_ == kMost) answer_all();
    questions_[asked_++] = {&patch, position, scale};
  }

  void answer_all() {
    float old[kMost];
    for (size_t i = 0; i < asked_; ++i) {
      const auto& [patch, position, scale] = questions_[i];
      old[i] = load_high_precision(patch->source, patch->changes.old, position);
    }
    for (size_t i = 0; i < asked_; ++i) {
      const auto& [patch, position, scale] = questions_[i];
      if (!(patch->rule.scale_of(std::fabs(old[i])) < scale)) patch->doubtful.push_back(position);
    }
    asked_ = 0;
  }

 private:
  static constexpr size_t kMost = 128;
  struct Question {
    const Patching* patch;
    uint32_t position;
    float scale;
  };

  size_t asked_ = 0;
  Question questions_[kMost];
};

// The lines that a batch needs. They are fetched one by one, while another batch is worked on: asked for at
// once they would wait for one another.
class Lines {
 public:
  Lines(const std::byte* slot, const ElementPlaceBatch& places, int64_t count)
      : slot_(slot), code_(places.code), scale_(places.scale), left_(count) {}

  void fetch_next() {
    if (left_ == 0) return;
    __builtin_prefetch(slot_ + *code_++, 1);
    __builtin_prefetch(slot_ + *scale_++);
    --left_;
  }
  void fetch_rest() {
    while (left_ > 0) fetch_next();
  }

 private:
  const std::byte* slot_;
  const uint64_t* code_;
  const uint64_t* scale_;
  int64_t left_;
};

// Changes of one patch that follow one another.
class Batch {
 public:
  // Its lines are not in the cache yet.
  void locate(const Patching& of, size_t first, size_t count);
  bool empty() const { return count_ == 0; }
  Lines lines() const { return {patch_->slot, places_, count_}; }
  // Fetches lines of another meanwhile.
  void run(Lines ahead, Questions& questions);

 private:
  // The loops take what they fetch by value, and what they go by into locals: a store of a byte might change
  // anything else.
  template <size_t kBytes>
  Lines copy(Lines ahead) const;
  template <int64_t kBits>
  Lines load(Lines ahead);
  void load_scales();
  void find_doubtful(Questions& questions) const;
  template <int64_t kBits>
  Lines store(Lines ahead);

  const Patching* patch_ = nullptr;
  size_t first_ = 0;  // among the patch's changes
  int64_t count_ = 0;
  ElementPlaceBatch places_;
  ElementBatch elements_;
};

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

// Batches of all patches, one after the other; at the end empty ones.
class Batches {
 public:
  explicit Batches(const std::vector<Patching>& patches) : patches_(patches) {}

  void next(Batch& batch) {
    while (patch_ + 1 < patches_.size() && at_ == count()) {
      ++patch_;
      at_ = 0;
    }
    const size_t taken = std::min(count() - at_, static_cast<size_t>(kElementBatch));
    batch.locate(patches_[patch_], at_, taken);
    at_ += taken;
  }

 private:
  size_t count() const { return patches_[patch_].changes.positions.size(); }

  const std::vector<Patching>& patches_;  // at least one
  size_t patch_ = 0, at_ = 0;
};

}  // namespace

void patch_elements(std::span<ElementPatch> patches) {
  if (patches.empty()) return;
  std::vector<Patching> all;
  all.reserve(patches.size());
  for (ElementPatch& patch : patches) all.emplace_back(patch);
  // A few batches are under way at once, each of about as many lines as a processor fetches at a time: memory
  // works all the while that one of them is encoded.
  Batch under_way[kUnderWay];
  Batches batches(all);
  Questions questions;
  for (int64_t i = 0; i + 1 < kUnderWay; ++i) {
    batches.next(under_way[i]);
    under_way[i].lines().fetch_rest();
  }
  for (int64_t turn = 0; !under_way[turn % kUnderWay].empty(); ++turn) {
    Batch& ahead = under_way[(turn + kUnderWay - 1) % kUnderWay];
    batches.next(ahead);
    under_way[turn % kUnderWay].run(ahead.lines(), questions);
  }
  questions.answer_all();
}

}  // namespace liveweight
