// Tensors, whole or in pieces.
#include <numeric>

#include "fuzz/update/sequence.h"

namespace liveweight::fuzz {

// Notes what a call gave: a good one must succeed, a bad one must not, and after a refusal each call gives
// the same.
void Sequence::came(const Status& status, bool good, bool doubtful) {
  if (pending_.error) {
    require(!status && status.error().code == pending_.error->code,
            "after a refusal each call gives the same");
  } else {
    require(status || !good || doubtful, status ? "" : status.error().message);
    require(!status || good, "a wrong call is refused");
    if (!status) pending_.error = status.error();
  }
  if (!status) require_refusal(status.error());
}

// Elements that come by `put`: in place they are written at once, which no reader may see.
void Sequence::put(const std::string& name, const Weights& from, const std::vector<int64_t>& elements,
                   bool borrowed, const std::function<Status()>& call) {
  if (!update_) return;
  const bool live = !pending_.error;
  const bool new_ones = live && may_come(name) && pending_.cover(name, elements);
  const bool writes = mode_ == CommitMode::kInPlace && !borrowed;
  const bool good = new_ones && !(writes && !pins_.empty());
  if (good && writes) pending_.written = true;
  came(call(), good);
  if (good) pending_.take(name, from, elements);
  if (good) pending_.whole.insert(name);
  check();
}

std::vector<int64_t> Sequence::run_of(int64_t first, int64_t count) {
  std::vector<int64_t> elements(static_cast<size_t>(count));
  std::iota(elements.begin(), elements.end(), first);
  return elements;
}

void Sequence::put_whole(const std::string& name, const Weights& from, bool borrowed) {
  const TensorView view = from.view(name);
  put(name, from, run_of(0, element_count(view.shape)), borrowed,
      [&] { return borrowed ? update_->borrow(name, view) : update_->put(name, view); });
}

void Sequence::put_all_of(int version) {
  if (!open() || pending_.error) begin({});
  const bool borrowed = input_.ConsumeBool();
  for (const std::string& name : names_) {
    if (update_ && pending_.scope.contains(name))
      put_whole(name, subject_.versions[static_cast<size_t>(version)], borrowed);
  }
  commit();
}

void Sequence::put_rest() {
  const Weights& from = any_version();
  for (const std::string& name : names_) {
    if (update_ && pending_.scope.contains(name) && !pending_.came.contains(name))
      put_whole(name, from, input_.ConsumeBool());
  }
}

void Sequence::put_run() {
  const std::string& name = any_name();
  const Weights& from = any_version();
  const int64_t size = element_count(from.tensors.at(name).shape);
  const auto first = input_.ConsumeIntegralInRange<int64_t>(0, size - 1),
             count = input_.ConsumeIntegralInRange<int64_t>(1, size - first);
  put(name, from, run_of(first, count), false,
      [&] { return testing::put_run(*update_, name, from.view(name), first, count); });
}

void Sequence::put_region() {
  const std::string& name = any_name();
  const Weights& from = any_version();
  const Shape& shape = from.tensors.at(name).shape;
  Region region;
  for (const int64_t extent : shape) {
    region.start.push_back(input_.ConsumeIntegralInRange<int64_t>(0, extent - 1));
    region.extent.push_back(input_.ConsumeIntegralInRange<int64_t>(1, extent - region.start.back()));
  }
  const int64_t cols = shape.size() == 2 ? shape[1] : 1, col = shape.size() == 2 ? region.start[1] : 0;
  const int64_t width = shape.size() == 2 ? region.extent[1] : 1;
  std::vector<int64_t> elements;
  for (int64_t row = region.start[0]; row < region.start[0] + region.extent[0]; ++row) {
    for (int64_t i = row * cols + col; i < row * cols + col + width; ++i) elements.push_back(i);
  }
  put(name, from, elements, false,
      [&] { return testing::put_region(*update_, name, from.view(name), region); });
}

}  // namespace liveweight::fuzz
