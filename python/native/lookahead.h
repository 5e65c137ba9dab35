// Looks through rows that stay where they are, for elements that are not finite and for their maxima, while
// their owner still gathers others: on a thread of its own, and on all threads once the answers are wanted.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "bands.h"

namespace liveweight::python {

class Lookahead {
 public:
  Lookahead() = default;
  ~Lookahead();
  Lookahead(const Lookahead&) = delete;
  Lookahead& operator=(const Lookahead&) = delete;

  // `name` and the rows stay until this ends. Gives what `answer` wants. With LIVEWEIGHT_THREADS=1 nothing is
  // looked at before `finish`.
  size_t add(const std::string& name, const Matrix& matrix, const Rows& rows);

  // Looks at what is left, on all threads. The thread of its own ends here.
  void finish();

  // As `check_rows` would have it; after `finish`.
  Result<float> answer(size_t index) const;

 private:
  struct Entry {
    const std::string& name;
    Matrix matrix;
    Rows rows;
    int64_t bands = 0;
    float amax = 0;
    int64_t failed = 0;  // the band of `error`
    std::optional<Error> error;
  };
  struct Band {
    Entry* entry = nullptr;
    int64_t index = 0;
  };
  std::optional<Band> take(bool ahead);
  void look_at(const Band& band);
  void note(const Band& band, Result<float> found);
  void run();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Entry> entries_;
  size_t next_entry_ = 0;  // and its band: what nobody took yet
  int64_t next_band_ = 0;
  int64_t taken_ = 0;  // and not done yet
  std::exception_ptr thrown_;
  bool ends_ = false;
  std::thread thread_;
};

}  // namespace liveweight::python
