// Looks through rows that stay where they are, while their owner still gathers others: on a thread of its
// own, and on all threads once the answers are wanted. Of a tensor of one scale it finds the maximum; others
// are quantized and compared with what lives, so that what a step of training changes needs no second
// reading.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "arena.h"
#include "bands.h"
#include "staged_rows.h"

namespace liveweight::python {

class Lookahead {
 public:
  explicit Lookahead(Arena& arena) : arena_(arena) {}
  ~Lookahead();
  Lookahead(const Lookahead&) = delete;
  Lookahead& operator=(const Lookahead&) = delete;

  // `name`, the rows and the owner's buffers stay until this ends. Gives what `answer` wants. With
  // LIVEWEIGHT_THREADS=1, or where no thread can be made, nothing is looked at before `finish`.
  size_t add(const std::string& name, const Matrix& matrix, const Rows& rows);

  // Not looked at any more; what was kept of it is let go.
  void forget(size_t index);

  // Looks at what is left, on all threads. The thread of its own ends here.
  void finish();

  // As `check_rows` would have it; after `finish`.
  Result<float> answer(size_t index) const;
  // The bands that change little; after `finish`.
  const StagedRows& changes(size_t index) const;

 private:
  struct Entry {
    const std::string& name;
    Matrix matrix;
    Rows rows;
    int64_t bands = 0;  // to be looked at
    bool compares = false;
    int64_t little = 0, much = 0;  // bands that change so
    StagedRows staged;
    int64_t taken = 0;  // and not done yet
    float amax = 0;
    int64_t failed = 0;  // the band of `error`
    std::optional<Error> error;
  };
  struct Band {
    Entry* entry = nullptr;
    int64_t index = 0;
    bool compares = false;
  };
  std::optional<Band> take(bool ahead);
  void look_at(const Band& band);
  void check(const Band& band);
  void compare(const Band& band);
  void note_error(const Band& band, Error error);
  void start();
  void run();

  Arena& arena_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Entry> entries_;
  size_t next_entry_ = 0;  // and its band: what nobody took yet
  int64_t next_band_ = 0;
  std::exception_ptr thrown_;
  bool ends_ = false;
  std::thread thread_;
};

}  // namespace liveweight::python
