// The table that grows: on a terminal its last row is drawn again and again, elsewhere a row is written once.
#pragma once

#include <cstdio>
#include <string>

#include "demo/record.h"

namespace liveweight::demo {

class Table {
 public:
  explicit Table(FILE* out);

  void begin(const std::string& scheme, int clients);
  void refresh(const Row& row);  // nothing where `out` is no terminal
  void finish(const Row& row);
  void add(const BadUpdate& bad);

 private:
  void put(const std::string& line, bool last);  // not last: the next one is drawn over it
  void put_wrapped(const std::string& message);

  FILE* out_;
  bool terminal_;
};

}  // namespace liveweight::demo
