// What the demo has seen: a row a version, the updates that were refused, and what it all came to.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "demo/ledger.h"
#include "demo/reloads.h"
#include "demo/sample.h"

namespace liveweight::demo {

struct Row {
  SampleCheckpoint checkpoint;
  Reloaded reloaded;
  Answers answers;
  double seconds = 0;  // since the version became current
  int64_t failed = 0;  // requests, until now

  double tokens_per_second() const { return seconds > 0 ? static_cast<double>(answers.tokens) / seconds : 0; }
};

// An update that had to be refused. `refused` is empty where it was taken all the same.
struct BadUpdate {
  std::string what;
  size_t after_row = 0;  // how many rows there were
  std::optional<Refused> refused;

  bool held() const { return refused && refused->changed_nothing; }
};

struct Record {
  std::string scheme;
  std::vector<Row> rows;
  std::vector<BadUpdate> bad_updates;
  int64_t requests = 0;
  int64_t failed = 0;
  std::string first_failure;
  Answers total;
  double seconds = 0;
  bool addresses_unchanged = false;  // those that the captured step holds, and all slots
  bool interrupted = false;
};

// Of the reloads beside requests: all rows but the first.
struct Spread {
  double median = 0;
  double maximum = 0;
};
Spread reload_ms(const Record& record);
Spread pause_us(const Record& record);

// Every promise that was put to the test, by its name, and whether it was kept.
struct Promise {
  const char* name;
  bool kept;
};
std::vector<Promise> promises(const Record& record);

std::string grouped(int64_t number);  // "48,211"
std::string to_json(const Record& record);
std::string summary_text(const Record& record);

}  // namespace liveweight::demo
