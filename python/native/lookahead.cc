#include "lookahead.h"

#include <algorithm>
#include <utility>

#include "base/threads.h"

namespace liveweight::python {

Lookahead::~Lookahead() {
  {
    std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

size_t Lookahead::add(const std::string& name, const Matrix& matrix, const Rows& rows) {
  std::lock_guard lock(mutex_);
  entries_.push_back({name, matrix, rows, band_count(matrix, rows), 0, 0, std::nullopt});
  if (!thread_.joinable() && default_threads() > 1) thread_ = std::thread([this] { run(); });
  changed_.notify_all();
  return entries_.size() - 1;
}

std::optional<Lookahead::Band> Lookahead::take(bool ahead) {
  std::lock_guard lock(mutex_);
  if (ahead && ends_) return std::nullopt;
  while (next_entry_ < entries_.size() && next_band_ == entries_[next_entry_].bands) {
    ++next_entry_;
    next_band_ = 0;
  }
  if (next_entry_ == entries_.size()) return std::nullopt;
  ++taken_;
  return Band{&entries_[next_entry_], next_band_++};
}

void Lookahead::look_at(const Band& band) {
  try {
    const Entry& entry = *band.entry;
    note(band, check_band(entry.name, entry.matrix, band_of(entry.matrix, entry.rows, band.index)));
  } catch (...) {
    std::lock_guard lock(mutex_);
    thrown_ = std::current_exception();
  }
  std::lock_guard lock(mutex_);
  if (--taken_ == 0) changed_.notify_all();
}

void Lookahead::note(const Band& band, Result<float> found) {
  std::lock_guard lock(mutex_);
  Entry& entry = *band.entry;
  if (found) {
    entry.amax = std::max(entry.amax, *found);
  } else if (!entry.error || band.index < entry.failed) {
    entry.error = std::move(found).error();
    entry.failed = band.index;
  }
}

void Lookahead::run() {
  for (;;) {
    while (const auto band = take(true)) look_at(*band);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ends_ || next_entry_ < entries_.size(); });
    if (ends_) return;
  }
}

void Lookahead::finish() {
  {
    std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  ThreadPool& pool = ThreadPool::shared();
  pool.parallel_for(pool.threads(), [&](int64_t) {
    while (const auto band = take(false)) look_at(*band);
  });
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return taken_ == 0; });
  if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
}

Result<float> Lookahead::answer(size_t index) const {
  std::lock_guard lock(mutex_);
  const Entry& entry = entries_[index];
  if (entry.error) return tl::unexpected(*entry.error);
  return entry.amax;
}

}  // namespace liveweight::python
