// Tokens that are found in the text before anything else looks at it: <|eot|>, <s>.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "text/component.h"

namespace liveweight {

class AddedTokens {
 public:
  static Result<AddedTokens> parse(const Json& list);

  // Pieces of the text in order: an added token's id, or text between them (id -1).
  struct Piece {
    int32_t id = -1;
    std::string_view text;
  };
  // Of the tokens that are matched in raw text (`normalized` false), or of the others.
  std::vector<Piece> split(std::string_view text, bool normalized) const;

  const std::string* token_of(int32_t id) const;
  bool is_special(int32_t id) const { return special_.contains(id); }
  std::unordered_map<std::string, int32_t> ids() const;

 private:
  struct Token {
    int32_t id;
    std::string content;
    bool single_word, lstrip, rstrip, normalized;
  };
  const Token* longest_at(std::string_view text, size_t at, bool normalized) const;

  std::vector<Token> tokens_;
  std::unordered_map<unsigned char, std::vector<size_t>> by_first_byte_;  // longest first
  std::unordered_map<int32_t, size_t> by_id_;
  std::unordered_set<int32_t> special_;
};

}  // namespace liveweight
