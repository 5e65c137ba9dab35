// The demo itself: clients ask, the engine answers, checkpoints are taken.
#pragma once

#include <filesystem>
#include <string>

#include "demo/record.h"
#include "demo/table.h"

namespace liveweight::demo {

struct ShowOptions {
  std::filesystem::path sample = "samples/addition";
  std::string scheme = "int8_per_channel";
  double seconds = 45;  // for all versions together, at least
  int clients = 8;
};

// Ends early, with what there is, after an interrupt.
Result<Record> run_show(const ShowOptions& options, Table& table);

}  // namespace liveweight::demo
