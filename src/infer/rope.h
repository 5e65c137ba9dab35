// Rotary position embedding, as Hugging Face computes it: element i of the first half of the rotated part
// turns with element i of its second half. The table's angles are computed in fp32, in the same order of
// operations.
#pragma once

#include <cstdint>
#include <vector>

#include "liveweight/model.h"

namespace liveweight {

class RopeTable {
 public:
  RopeTable(const RopeParameters& parameters, int64_t head_dim, int64_t positions);

  // Turns one head of head_dim elements in place; what lies behind the rotated part stays.
  void rotate(float* head, int64_t position) const;

  const void* data() const { return cosines_.data(); }

 private:
  int64_t half_;  // of the rotated part
  std::vector<float> cosines_;
  std::vector<float> sines_;
};

// The inverse frequencies, one for each pair.
std::vector<float> rope_frequencies(const RopeParameters& parameters, int64_t head_dim);

}  // namespace liveweight
