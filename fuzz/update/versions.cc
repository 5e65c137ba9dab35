// What is done with versions beside updates.
#include "fuzz/update/sequence.h"

namespace liveweight::fuzz {

void Sequence::rollback() {
  if (!open() && expected_.previous && (mode_ == CommitMode::kCopy ? !pins_.empty() : pinned_other()))
    return;  // it would wait
  const bool possible = !open() && expected_.previous, announced = live_->can_roll_back();
  const auto version = live_->rollback();
  require(version.has_value() == announced, "a rollback goes where it is said to");
  require(version ? possible : !possible || expected_.written_since,
          version ? "a rollback needs a version to go back to" : version.error().message);
  if (!version) return check();
  std::swap(expected_.current, expected_.previous);
  expected_.written_since = false;
  expected_.number += 1;
  expected_.mirrored = false;
  require(version->number == expected_.number && version->label == expected_.current->label,
          "a rollback is a new version with the old label");
  check();
}

void Sequence::catch_up() {
  const bool good = !open() && !pinned_other();
  const Status status = live_->catch_up(kNoWait);
  require(status.has_value() == good,
          status ? "catch_up needs the model for itself" : status.error().message);
  if (good) expected_.written_since = true;
  check();
}

// A mirror of the current version, where that is one whose checkpoint there is.
void Sequence::attach_mirror() {
  for (size_t i = 0; i < subject_.versions.size() && visible() && !open(); ++i) {
    if (!same(expected_.current->weights, subject_.versions[i])) continue;
    const auto mirror = Mirror::in_memory(subject_.checkpoints[i], same_name);
    require(mirror && live_->attach_mirror(*mirror), "a mirror is attached where no update is open");
    expected_.mirrored = true;
    break;
  }
  check();
}

bool Sequence::same(const Weights& a, const Weights& b) {
  return std::equal(a.tensors.begin(), a.tensors.end(), b.tensors.begin(),
                    [](const auto& x, const auto& y) { return x.second.bytes == y.second.bytes; });
}

void Sequence::pin() {
  if (shut() || pins_.size() > 3) return;
  auto snapshot = live_->pin();
  require(snapshot.has_value() == visible(), "a version that was committed can be pinned");
  if (snapshot)
    pins_.push_back({std::move(*snapshot), expected_.number, subject_.cold(expected_.current->weights)});
}

void Sequence::unpin() {
  if (pins_.empty()) return;
  require(digest_of(*live_, pins_.front().snapshot).model == pins_.front().digest,
          "a pinned version stays as it is");
  require(pins_.front().snapshot.version_number() == pins_.front().number,
          "a pinned version keeps its number");
  pins_.pop_front();
}

}  // namespace liveweight::fuzz
