// A simple model of what must hold while a live model is updated: which version is current, what the open
// update has brought, and what may come of it.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "fuzz/update/subject.h"

namespace liveweight::fuzz {

constexpr const char* kAlias = "lm_head.weight";
constexpr const char* kTied = "model.embed_tokens.weight";  // what it is another name of, in tied models

struct Committed {
  Weights weights;
  std::string label;
};

// An update from `begin_update` until the next one.
struct Pending {
  Weights next;  // what is current after its commit
  std::string label;
  std::set<std::string> scope;  // tensors that must come
  bool deltas = false;
  bool optional = false;                          // what does not come keeps what it has
  std::map<std::string, std::vector<bool>> came;  // elements, by tensor
  std::set<std::string> changed, whole;           // tensors that came as changes, and otherwise
  std::optional<Weights::Entry> alias;            // what came under the tied head's name
  std::optional<Digest> promised;
  bool doomed = false;    // it brought what must not be committed
  bool doubtful = false;  // it may be refused
  bool written = false;   // in place: the current version is being overwritten
  bool prepared = false;
  bool closed = false;
  std::optional<Error> error;  // what every later call gives

  // Whether nothing is missing.
  bool complete() const {
    for (const std::string& name : scope) {
      const auto found = came.find(name);
      if (found == came.end() && alias && name == kTied) continue;
      if (found == came.end() && optional) continue;
      if (found == came.end()) return false;
      for (const bool element : found->second) {
        if (!element) return false;
      }
    }
    return true;
  }

  // Notes that elements of a tensor come; false where one of them came before.
  bool cover(const std::string& name, const std::vector<int64_t>& elements) {
    std::vector<bool>& seen = came[name];
    seen.resize(static_cast<size_t>(element_count(next.tensors.at(name).shape)));
    for (const int64_t element : elements) {
      if (seen[static_cast<size_t>(element)]) return false;
      seen[static_cast<size_t>(element)] = true;
    }
    return true;
  }

  void take(const std::string& name, const Weights& from, const std::vector<int64_t>& elements) {
    Weights::Entry& entry = next.tensors.at(name);
    const auto each = static_cast<size_t>(bits_of(entry.dtype)) / 8;
    for (const int64_t element : elements) {
      const size_t at = static_cast<size_t>(element) * each;
      std::copy_n(from.tensors.at(name).bytes.begin() + static_cast<std::ptrdiff_t>(at), each,
                  entry.bytes.begin() + static_cast<std::ptrdiff_t>(at));
    }
  }
};

struct Expectation {
  std::optional<Committed> current, previous;  // the previous one while a rollback may bring it back
  bool written_since = false;                  // into the next slots, which may end that
  uint64_t number = 0;                         // the last version's
  bool mirrored = false;                       // the mirror holds the current version
};

}  // namespace liveweight::fuzz
