#include "origins.h"

#include <utility>

namespace liveweight::python {

void Origins::committed(Origin origin) {
  std::lock_guard lock(mutex_);
  if (origin.number > current_.number) {
    previous_ = std::exchange(current_, std::move(origin));
  } else if (origin.number > previous_.number) {
    previous_ = std::move(origin);
  }
}

void Origins::rolled_back(uint64_t number) {
  std::lock_guard lock(mutex_);
  if (number <= current_.number) return;
  const bool known = current_.number + 1 == number;
  std::swap(current_, previous_);
  if (!known) current_ = {};
  current_.number = number;
}

Origin Origins::of(uint64_t number) const {
  std::lock_guard lock(mutex_);
  return current_.number == number ? current_ : Origin{};
}

void Origins::mirrored(uint64_t number) {
  std::lock_guard lock(mutex_);
  if (current_.number == number) current_.unmirrored.reset();
}

}  // namespace liveweight::python
