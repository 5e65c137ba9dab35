// Checkpoints that must be refused, made from a good one in a temporary folder that goes when this does.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/temporary_folder.h"
#include "liveweight/error.h"

namespace liveweight::demo {

struct BadCheckpoint {
  std::string what;  // "a NaN in its last weight"
  std::filesystem::path directory;
};

class BadCheckpoints {
 public:
  static Result<std::unique_ptr<BadCheckpoints>> make(const std::filesystem::path& good);

  const std::vector<BadCheckpoint>& all() const { return all_; }

 private:
  explicit BadCheckpoints(TemporaryFolder folder) : folder_(std::move(folder)) {}
  Status add(const std::string& what, const std::string& file_bytes);

  TemporaryFolder folder_;
  std::vector<BadCheckpoint> all_;
};

}  // namespace liveweight::demo
