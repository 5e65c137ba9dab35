// Which checkpoint or delta the current version and the one before it came from.
#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>

#include "liveweight/checkpoint.h"

namespace liveweight::python {

struct Origin {
  uint64_t number = 0;                   // of the version; 0: nothing is known
  std::string name;                      // of the weights, as deltas name their base; empty: not known
  std::filesystem::path directory;       // that holds all of them; empty: none
  std::optional<Checkpoint> unmirrored;  // what is still to be put into the model's mirror
};

// Any thread may use it.
class Origins {
 public:
  // A commit gave `origin.number`. Commits may be noted out of order.
  void committed(Origin origin);
  // The version before came back under that number.
  void rolled_back(uint64_t number);
  // Of a version that is current; nothing where it is not known.
  Origin of(uint64_t number) const;
  void mirrored(uint64_t number);

 private:
  mutable std::mutex mutex_;
  Origin current_, previous_;
};

}  // namespace liveweight::python
