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

// Elements whose old values tell whether they held their units' scales up. Each is fetched long before it is
// looked at, as they lie apart.
class Questions {
 public:
  void ask(const Patching& patch, uint32_t position, float scale) {
    if (!patch.changes.old) return patch.doubtful.push_back(position);
    if (asked_ - answered_ == kMost) answer_one();
    __builtin_prefetch(patch.changes.old + position * patch.source_bytes);
    ring_[asked_++ % kMost] = {&patch, position, scale};
  }

  void answer_all() {
    while (answered_ < asked_) answer_one();
  }

 private:
  static constexpr size_t kMost = 32;
  struct Asked {
    const Patching* patch;
    uint32_t position;
    float scale;
  };

  void answer_one() {
    const auto& [patch, position, scale] = ring_[answered_++ % kMost];
    const float old = std::fabs(load_high_precision(patch->source, patch->changes.old, position));
    if (!(patch->rule.scale_of(old) < scale)) patch->doubtful.push_back(position);
  }

  size_t asked_ = 0, answered_ = 0;
  Asked ring_[kMost];
};

// Changes of one patch that follow one another.
class Batch {
 public:
  void locate(const Patching& of, size_t first, size_t count);
  bool empty() const { return count_ == 0; }
  // Lines that the batch needs come one by one, while another batch is worked on: asked for at once they
  // would wait for one another.
  void fetch_next() {
    if (fetched_ == count_) return;
    __builtin_prefetch(patch_->slot + places_.code[fetched_], 1);
    __builtin_prefetch(patch_->slot + places_.scale[fetched_]);
    ++fetched_;
  }
  void fetch_rest() {
    while (fetched_ < count_) fetch_next();
  }
  // Fetches `ahead` meanwhile.
  void run(Batch& ahead, Questions& questions);

 private:
  bool keeps(int64_t i) const { return places_.keeps >> i & 1; }
  template <size_t kBytes>
  void copy(Batch& ahead) const;
  void load(Batch& ahead);
  void load_scales();
  void find_doubtful(Questions& questions) const;
  template <int64_t kBits>
  void store(Batch& ahead) const;

  const Patching* patch_ = nullptr;
  size_t first_ = 0;  // among the patch's changes
  int64_t count_ = 0;
  int64_t fetched_ = 0;
  ElementPlaceBatch places_;
  ElementBatch elements_;
};

void Batch::locate(const Patching& of, size_t first, size_t count) {
  patch_ = &of;
  first_ = first;
  count_ = static_cast<int64_t>(count);
  fetched_ = 0;
  if (!empty()) locate_elements(of.places, of.changes.positions.data() + first, count_, places_);
}

// Copies of a size that the compiler knows are one instruction.
void Batch::run(Batch& ahead, Questions& questions) {
  if (!patch_->quantizes) return patch_->source_bytes == 2 ? copy<2>(ahead) : copy<4>(ahead);
  load(ahead);
  if (patch_->rule.from_scale) {
    encode_elements(patch_->rule, elements_, count_);
  } else {
    elements_.unclear = ~uint64_t{0};
  }
  find_doubtful(questions);
  return patch_->bits == 8 ? store<8>(ahead) : store<4>(ahead);
}

template <size_t kBytes>
void Batch::copy(Batch& ahead) const {
  const std::byte* values = patch_->changes.values + first_ * kBytes;
  for (int64_t i = 0; i < count_; ++i) {
    ahead.fetch_next();
    if (keeps(i))
      std::memcpy(patch_->slot + places_.code[i], values + static_cast<size_t>(i) * kBytes, kBytes);
  }
}

void Batch::load(Batch& ahead) {
  const size_t each = patch_->source_bytes;
  const std::byte* values = patch_->changes.values + first_ * each;
  if (each == 2 && count_ == kElementBatch) {
    std::memcpy(elements_.elements, values, kElementBatch * 2);
  } else {
    std::memcpy(elements_.elements, values, static_cast<size_t>(count_) * each);
  }
  load_scales();
  for (int64_t i = 0; i < count_; ++i) {
    if (i % 2 == 0) ahead.fetch_next();
    // Those of rows that are not kept may be written by others now.
    if (!keeps(i)) continue;
    const auto code = std::to_integer<unsigned>(patch_->slot[places_.code[i]]);
    elements_.old_code[i] = static_cast<uint8_t>(code >> places_.shift[i]);
  }
}

void Batch::load_scales() {
  if (patch_->scale_dtype == DType::kF32) {
    for (int64_t i = 0; i < count_; ++i) {
      std::memcpy(&elements_.scale[i], patch_->slot + places_.scale[i], sizeof(float));
    }
    return;
  }
  uint16_t halves[kElementBatch];
  for (int64_t i = 0; i < count_; ++i) {
    std::memcpy(&halves[i], patch_->slot + places_.scale[i], sizeof halves[i]);
  }
  for (int64_t i = 0; i < count_; ++i) {
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
void Batch::store(Batch& ahead) const {
  for (int64_t i = 0; i < count_; ++i) {
    if (i % 2 == 0) ahead.fetch_next();
    if (!keeps(i)) continue;
    std::byte& code = patch_->slot[places_.code[i]];
    if constexpr (kBits == 8) {
      code = std::byte{elements_.code[i]};
    } else {
      const auto others = std::byte{0xf0} >> places_.shift[i];
      code = (code & others) | std::byte(elements_.code[i] & 0x0f) << places_.shift[i];
    }
  }
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
    under_way[i].fetch_rest();
  }
  for (int64_t turn = 0; !under_way[turn % kUnderWay].empty(); ++turn) {
    Batch& ahead = under_way[(turn + kUnderWay - 1) % kUnderWay];
    batches.next(ahead);
    under_way[turn % kUnderWay].run(ahead, questions);
    ahead.fetch_rest();
  }
  questions.answer_all();
}

}  // namespace liveweight
