#include "lookahead.h"

#include <algorithm>
#include <system_error>
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
  Entry& entry = entries_.emplace_back(Entry{name, matrix, rows, band_count(matrix, rows)});
  entry.compares = matrix.scheme.granularity != Granularity::kTensor;
  entry.staged.expect(entry.bands);
  if (!thread_.joinable() && default_threads() > 1) start();
  changed_.notify_all();
  return entries_.size() - 1;
}

// Where the system has no thread left, `finish` looks at everything.
void Lookahead::start() {
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error&) {
  }
}

void Lookahead::forget(size_t index) {
  std::unique_lock lock(mutex_);
  Entry& entry = entries_[index];
  entry.bands = 0;
  changed_.wait(lock, [&] { return entry.taken == 0; });
  entry.staged.drop(arena_);
}

std::optional<Lookahead::Band> Lookahead::take(bool ahead) {
  std::lock_guard lock(mutex_);
  if (ahead && ends_) return std::nullopt;
  while (next_entry_ < entries_.size() && next_band_ >= entries_[next_entry_].bands) {
    ++next_entry_;
    next_band_ = 0;
  }
  if (next_entry_ == entries_.size()) return std::nullopt;
  Entry& entry = entries_[next_entry_];
  ++entry.taken;
  return Band{&entry, next_band_++, entry.compares};
}

void Lookahead::look_at(const Band& band) {
  try {
    band.compares ? compare(band) : check(band);
  } catch (...) {
    std::lock_guard lock(mutex_);
    thrown_ = std::current_exception();
  }
  std::lock_guard lock(mutex_);
  if (--band.entry->taken == 0) changed_.notify_all();
}

void Lookahead::check(const Band& band) {
  Entry& entry = *band.entry;
  Result<float> amax = check_band(entry.name, entry.matrix, band_of(entry.matrix, entry.rows, band.index));
  std::lock_guard lock(mutex_);
  if (!amax) return note_error(band, std::move(amax).error());
  entry.amax = std::max(entry.amax, *amax);
}

// Where bands change much, others most likely do: they are only looked through. One in a few may, as a step
// of training moves the scale of a row now and then, and with it many codes.
void Lookahead::compare(const Band& band) {
  Entry& entry = *band.entry;
  Result<bool> kept = entry.staged.stage_little(entry.name, entry.matrix, entry.rows, band.index, arena_);
  std::lock_guard lock(mutex_);
  if (!kept) return note_error(band, std::move(kept).error());
  ++(*kept ? entry.little : entry.much);
  entry.compares = entry.much <= 1 + entry.little / 4;
}

// The first in order counts.
void Lookahead::note_error(const Band& band, Error error) {
  Entry& entry = *band.entry;
  if (entry.error && entry.failed < band.index) return;
  entry.error = std::move(error);
  entry.failed = band.index;
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
  changed_.wait(lock, [&] {
    return std::all_of(entries_.begin(), entries_.end(), [](const Entry& entry) { return entry.taken == 0; });
  });
  if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
}

Result<float> Lookahead::answer(size_t index) const {
  std::lock_guard lock(mutex_);
  const Entry& entry = entries_[index];
  if (entry.error) return tl::unexpected(*entry.error);
  return entry.amax;
}

const StagedRows& Lookahead::changes(size_t index) const {
  std::lock_guard lock(mutex_);
  return entries_[index].staged;
}

}  // namespace liveweight::python
