// The absolute maxima of matrices with one scale, as the last update found them. From one step of training to
// the next hardly an element changes, so the next update is likely to find the same, and may encode with it
// what it is still looking through. No more than a hint: it need not be of what is live.
#pragma once

#include <vector>

#include "live/plan_tables.h"

namespace liveweight {

// Calls at once may be of different matrices.
class TensorMaxima {
 public:
  explicit TensorMaxima(const Plan::Implementation& plan) : known_(plan.parameters.size()) {
    for (size_t p = 0; p < known_.size(); ++p) {
      const KernelFormat& format = *plan.parameters[p].format;
      if (format.scheme.granularity == Granularity::kTensor) known_[p].resize(format.matrices);
    }
  }

  // Of a target that shares a scale; less than any maximum where the last one was another than the one
  // before.
  float expected(const Target& target) const {
    const Known& known = known_[target.parameter][target.matrix];
    return known.steady ? known.maximum : kNone;
  }

  void found(const Target& target, float maximum) {
    Known& known = known_[target.parameter][target.matrix];
    known.steady = known.maximum == kNone || known.maximum == maximum;
    known.maximum = maximum;
  }

 private:
  static constexpr float kNone = -1;
  struct Known {
    float maximum = kNone;
    bool steady = false;
  };
  std::vector<std::vector<Known>> known_;  // by parameter, by matrix
};

}  // namespace liveweight
