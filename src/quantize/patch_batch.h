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
      : places(addresses_of(patch)),
        changes(patch.changes),
        source(patch.source),
        scale_dtype(patch.region.format->scale.dtype),
        source_bytes(static_cast<size_t>(bits_of(patch.source)) / 8),
        bits(code_bits(*patch.region.format)),
        quantizes(patch.region.format->scheme.quantizes()),
        doubtful(patch.doubtful) {
    if (quantizes) rule = ElementRule(patch.region.format->scheme, patch.source);
  }

  // In memory, not in the slot.
  static ElementPlaces addresses_of(const ElementPatch& patch) {
    ElementPlaces places(patch.region, patch.changes.cols);
    places.codes += reinterpret_cast<uint64_t>(patch.region.slot);
    places.scales += reinterpret_cast<uint64_t>(patch.region.slot);
    return places;
  }

  const ElementPlaces places;
  const ElementChanges changes;
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

// Changes of one patch that follow one another. All loops go over kElementBatch elements: behind those that
// are here the last one's places follow, and codes of what is not kept are sent nowhere.
class Batch {
 public:
  // Its lines are not in the cache yet.
  void locate(const Patching& of, size_t first, size_t count);
  bool empty() const { return count_ == 0; }
  void fetch() const;
  // Reads codes and scales that are there, a while before `run`: vectors of what was stored one by one just
  // before would wait for the cache to have it. Half of the lines of `ahead`, those of even elements, are
  // fetched one by one meanwhile: asked for at once they would wait for one another.
  void load(const Batch& ahead);
  // Fetches the other half.
  void run(const Batch& ahead, Questions& questions);

 private:
  static constexpr size_t kFarAhead = 8 * kElementBatch;
  static constexpr uint64_t kAll = (uint64_t{1} << kElementBatch) - 1;

  std::byte* code_at(int64_t i) const { return reinterpret_cast<std::byte*>(places_.code[i]); }
  const std::byte* scale_at(int64_t i) const { return reinterpret_cast<const std::byte*>(places_.scale[i]); }
  void fetch(int64_t i) const {
    __builtin_prefetch(code_at(i), 1);
    __builtin_prefetch(scale_at(i));
  }
  template <DType kDtype>
  void load_scales();
  template <size_t kBytes>
  void copy(const Batch& ahead) const;
  uint64_t unclear() const;
  void find_doubtful(Questions& questions) const;
  template <int64_t kBits>
  void store(const Batch& ahead);

  const Patching* patch_ = nullptr;
  size_t first_ = 0;  // among the patch's changes
  int64_t count_ = 0;
  ElementPlaceBatch places_{};
  ElementBatch elements_;
  std::byte nowhere_[sizeof(float)] = {};
};

}  // namespace liveweight
