// How updates end.
#include "fuzz/update/sequence.h"

namespace liveweight::fuzz {

// Whether a commit, were it tried now, must succeed; and whether it must fail.
bool Sequence::must_fail() const {
  const bool wrong_digest = pending_.promised && (mode_ == CommitMode::kInPlace ||
                                                  *pending_.promised != subject_.cold(pending_.next));
  const bool tie_broken = pending_.alias && pending_.came.contains(kTied) &&
                          pending_.alias->bytes != pending_.next.tensors.at(kTied).bytes;
  return pending_.doomed || !pending_.complete() || wrong_digest || tie_broken;
}

bool Sequence::may_fail() const {
  const bool mixed = !pending_.changed.empty() && !pending_.whole.empty();
  return pending_.doubtful || mixed || (!pending_.changed.empty() && !expected_.mirrored) ||
         (pending_.deltas && !pending_.whole.empty());
}

void Sequence::prepare() {
  if (!update_) return;
  came(update_->prepare(), pending_.prepared || !must_fail(), may_fail());
  if (!pending_.error) pending_.prepared = true;
  check();
}

void Sequence::commit() {
  if (!update_) return;
  const bool gate = mode_ != CommitMode::kFlip && !pins_.empty();
  const bool fails = !pending_.prepared && must_fail();
  const auto report = update_->commit();
  came(report ? Status() : Status(tl::unexpected(report.error())), !fails && !gate,
       may_fail() && !pending_.prepared);
  if (!report) return check();
  if (pending_.alias && !pending_.came.contains(kTied)) pending_.next.tensors.at(kTied) = *pending_.alias;
  const bool changes_alone = !pending_.changed.empty() && pending_.whole.empty() && !pending_.alias;
  expected_.mirrored = expected_.mirrored && changes_alone;
  if (mode_ != CommitMode::kInPlace) expected_.previous = std::move(expected_.current);
  expected_.written_since = false;
  expected_.current = Committed{pending_.next, pending_.label};
  expected_.number += 1;
  require(report->version.number == expected_.number && report->version.label == pending_.label,
          "the report names the version");
  pending_.closed = true;
  pending_.error = Error{ErrorCode::kFailedState, "committed", {}};
  check();
}

void Sequence::close() {
  if (!open()) return;
  pending_.closed = true;
  if (pending_.written) expected_.current.reset();
  if (!pending_.error) pending_.error = Error{ErrorCode::kAborted, "aborted", {}};
}

void Sequence::abort() {
  if (!update_) return;
  update_->abort();
  close();
  check();
}

void Sequence::drop() {
  if (!update_) return;
  close();
  update_.reset();
  check();
}

}  // namespace liveweight::fuzz
