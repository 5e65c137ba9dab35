// The loops of putting changed elements into slots: batches of changes that are located, fetched and encoded
// together.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "quantize/element_batch.h"
#include "quantize/element_places.h"
#include "quantize/patch.h"
#include "quantize/unit_layout.h"
#include "tensor/codec.h"

namespace liveweight {

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

}  // namespace liveweight
