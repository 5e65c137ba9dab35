#include "quantize/patch.h"

#include <algorithm>

#include "quantize/patch_batch.h"

namespace liveweight {
namespace {

// How many batches a processor's outstanding fetches are spread over.
constexpr int64_t kUnderWay = 4;

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
    under_way[i].fetch();
  }
  under_way[0].load(under_way[1]);
  for (int64_t turn = 0; !under_way[turn % kUnderWay].empty(); ++turn) {
    Batch& ahead = under_way[(turn + kUnderWay - 1) % kUnderWay];
    batches.next(ahead);
    under_way[(turn + 1) % kUnderWay].load(ahead);
    under_way[turn % kUnderWay].run(ahead, questions);
  }
  questions.answer_all();
}

}  // namespace liveweight
