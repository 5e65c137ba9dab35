// For how long what is not complete yet is waited for.
#pragma once

#include <chrono>
#include <map>
#include <string>

#include "liveweight/error.h"

namespace liveweight::cli {

// Looks again and again at what others are still writing, or what a file system shows late. Each thing has
// its own time, from the first of the looks in a row that found it wanting.
class Patience {
 public:
  // Negative: nothing is waited for.
  explicit Patience(double seconds) : most_(seconds) {}

  void begin_look();
  // OK where `error` may go away when `thing` is looked at again; with a line in the log the first time. Else
  // the error.
  Status bear(const std::string& thing, Error error);
  // Whether the last look bore anything.
  bool waits() const { return !since_.empty(); }

 private:
  using Times = std::map<std::string, std::chrono::steady_clock::time_point>;

  std::chrono::duration<double> most_;
  Times since_, before_;  // of this look, and of the one before it
};

}  // namespace liveweight::cli
