// Regular expressions in Oniguruma's Ruby syntax on UTF-8, as Hugging Face tokenizers and Python users write
// them. Thread-safe. Matching gives up with an error rather than backtracking for ever.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "liveweight/error.h"

namespace liveweight {

class Regex {
 public:
  // A group's half-open interval of bytes; -1, -1 where it took no part.
  struct Group {
    int64_t begin = -1;
    int64_t end = -1;
  };
  using Match = std::vector<Group>;  // group 0 is the whole match

  static Result<Regex> compile(std::string_view pattern);

  // The first match that begins at or after `from`.
  Result<std::optional<Match>> search(std::string_view text, int64_t from = 0) const;
  // Whether a match begins at the text's start, as Python's re.match.
  Result<bool> matches_at_start(std::string_view text) const;
  // Every match replaced; \1, \g<1> and $1 stand for groups, \0 and $0 for the whole.
  Result<std::string> replace_all(std::string_view text, std::string_view replacement) const;

 private:
  struct Program;
  std::shared_ptr<const Program> program_;
};

}  // namespace liveweight
