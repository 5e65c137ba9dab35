// Tensors that no update may take.
#include "fuzz/update/sequence.h"

namespace liveweight::fuzz {

// Another name, shape, dtype or number of bytes than the plan's.
void Sequence::put_wrong() {
  if (!update_) return;
  std::string name = any_name();
  TensorView view = subject_.versions[0].view(name);
  Region region{Shape(view.shape.size(), 0), view.shape};
  switch (input_.ConsumeIntegralInRange<int>(0, 9)) {
    case 0:
      came(update_->put(name + input_.ConsumeRandomLengthString(3) + "x", view), false);
      break;
    case 1:
      view.shape[0] += 1;
      came(update_->borrow(name, view), false);
      break;
    case 2:
      view.dtype = DType::kI8;
      came(update_->put(name, view), false);
      break;
    case 3:
      view.bytes -= 1;
      came(update_->put(name, view), false);
      break;
    case 4:
      view.data = nullptr;
      came(update_->borrow(name, view), false);
      break;
    case 5:
      region.start[0] = input_.ConsumeBool() ? 1 : INT64_MAX;
      came(update_->put(name, view, region), false);
      break;
    case 6:
      region.extent[0] = input_.ConsumeBool() ? -1 : INT64_MAX;
      came(update_->put(name, view, region), false);
      break;
    case 7:
      region.extent.push_back(1);
      came(update_->put(name, view, region), false);
      break;
    case 8:
      came(update_->put_flat(name, view, input_.ConsumeBool() ? 1 : INT64_MIN), false);
      break;
    default:
      view.shape.push_back(1);
      came(update_->put(name, view), false);
      break;
  }
  check();
}

// Found at once or when the tensor is quantized, at the latest by the commit.
void Sequence::put_not_finite() {
  if (!update_) return;
  const std::string& name = any_name();
  Weights& wrong = kept_.emplace_back(any_version());
  const int64_t size = element_count(wrong.tensors.at(name).shape);
  wrong.set(name, input_.ConsumeIntegralInRange<int64_t>(0, size - 1), input_.ConsumeBool() ? NAN : INFINITY);
  const bool borrowed = input_.ConsumeBool();
  const bool new_ones = !pending_.error && may_come(name) && pending_.cover(name, run_of(0, size));
  const bool writes = mode_ == CommitMode::kInPlace && !borrowed;
  const bool accepted = new_ones && !(writes && !pins_.empty());
  if (accepted && writes) pending_.written = true;
  if (accepted) pending_.doomed = true;
  came(borrowed ? update_->borrow(name, wrong.view(name)) : update_->put(name, wrong.view(name)), accepted,
       true);
  check();
}

}  // namespace liveweight::fuzz
