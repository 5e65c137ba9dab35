// Deltas, good and bad, and the tied head under its own name.
#include "fuzz/update/sequence.h"

namespace liveweight::fuzz {

void Sequence::put_changes() {
  if (!update_) return;
  const std::string& name = any_name();
  const Weights& to = any_version();
  const bool good = !pending_.error && pending_.deltas && may_come(name) && !pending_.came.contains(name);
  const TensorDelta delta = compare_tensors(name, pending_.next.view(name), to.view(name)).value();
  came(update_->put_delta(delta), good);
  if (!good) return check();
  const std::vector<int64_t> all = run_of(0, element_count(delta.shape));
  pending_.cover(name, all);
  pending_.take(name, to, all);
  pending_.changed.insert(name);
  check();
}

void Sequence::put_wrong_changes() {
  if (!update_) return;
  const std::string& name = any_name();
  const TensorView view = subject_.versions[0].view(name);
  const auto each = static_cast<size_t>(bits_of(view.dtype)) / 8;
  const auto size = static_cast<uint32_t>(element_count(view.shape));
  ChangedCells cells{{0, 1}, std::vector<std::byte>(2 * each)};
  DType dtype = view.dtype;
  Shape shape = view.shape;
  std::string called = name;
  switch (input_.ConsumeIntegralInRange<int>(0, 7)) {
    case 0:
      cells.positions[1] = 0;
      break;
    case 1:
      cells.positions = {1, 0};
      break;
    case 2:
      cells.positions[1] = size;
      break;
    case 3:
      cells.positions[1] = UINT32_MAX;
      break;
    case 4:
      cells.values.pop_back();
      break;
    case 5:
      dtype = DType::kI32;
      break;
    case 6:
      shape[0] += 1;
      break;
    default:
      called += "x";
      break;
  }
  came(update_->put_delta(make_delta(called, dtype, shape, std::move(cells))), false);
  check();
}

// The tied head's own name: what it brings has to be what the embedding is.
void Sequence::put_alias() {
  if (!update_ || !tied_) return;
  const auto& entry = any_version().tensors.at(kTied);
  const TensorView view{entry.dtype, entry.shape, entry.bytes.data(), entry.bytes.size()};
  const bool good = !pending_.error && may_come(kTied) && !pending_.alias;
  came(update_->borrow(kAlias, view), good, true);
  if (good && !pending_.error) pending_.alias = entry;
  pending_.doubtful = true;
  check();
}

}  // namespace liveweight::fuzz
