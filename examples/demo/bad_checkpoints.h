// Checkpoints that must be refused, made from a good one in a temporary folder that goes when this does.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "liveweight/error.h"

namespace liveweight::demo {

struct BadCheckpoint {
  std::string what;  // "a NaN in its last weight"
  std::filesystem::path directory;
};

class BadCheckpoints {
 public:
  static Result<std::unique_ptr<BadCheckpoints>> make(const std::filesystem::path& good);
  ~BadCheckpoints();
  BadCheckpoints(const BadCheckpoints&) = delete;
  BadCheckpoints& operator=(const BadCheckpoints&) = delete;

  const std::vector<BadCheckpoint>& all() const { return all_; }

 private:
  BadCheckpoints() = default;
  Status add(const std::string& what, const std::string& file_bytes);

  std::filesystem::path folder_;
  std::vector<BadCheckpoint> all_;
};

}  // namespace liveweight::demo
