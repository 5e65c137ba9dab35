#include "text/added_tokens.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/utf8.h"

namespace liveweight {
namespace {

// The first byte of the character that ends before `end`.
size_t character_before(std::string_view text, size_t end) {
  size_t at = end - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xc0u) == 0x80u) --at;
  return at;
}

bool is_single_word(std::string_view text, size_t begin, size_t end) {
  const bool before = begin > 0 && is_word(character_at(text, character_before(text, begin)));
  const bool after = end < text.size() && is_word(character_at(text, end));
  return !before && !after;
}

}  // namespace

Result<AddedTokens> AddedTokens::parse(const Json& list) {
  AddedTokens added;
  if (list.is_null()) return added;
  if (!list.is_array()) return bad_tokenizer("added_tokens: expected a list");
  for (const Json& item : list) {
    const bool good = item.is_object() && item.value("id", Json()).is_number_unsigned() &&
                      item["id"].get<uint64_t>() <= INT32_MAX && item.value("content", Json()).is_string();
    if (!good) return bad_tokenizer("added_tokens: expected objects with an id and a content");
    Token token{item["id"].get<int32_t>(), item["content"].get<std::string>(), false, false, false, false};
    LW_ASSIGN(token.single_word, flag_field(item, "single_word", false));
    LW_ASSIGN(token.lstrip, flag_field(item, "lstrip", false));
    LW_ASSIGN(token.rstrip, flag_field(item, "rstrip", false));
    LW_ASSIGN(const bool special, flag_field(item, "special", false));
    LW_ASSIGN(token.normalized, flag_field(item, "normalized", !special));
    if (token.content.empty()) continue;
    if (special) added.special_.insert(token.id);
    added.by_id_[token.id] = added.tokens_.size();
    added.by_first_byte_[static_cast<unsigned char>(token.content[0])].push_back(added.tokens_.size());
    added.tokens_.push_back(std::move(token));
  }
  for (auto& [byte, indices] : added.by_first_byte_) {
    std::stable_sort(indices.begin(), indices.end(), [&](size_t a, size_t b) {
      return added.tokens_[a].content.size() > added.tokens_[b].content.size();
    });
  }
  return added;
}

const AddedTokens::Token* AddedTokens::longest_at(std::string_view text, size_t at, bool normalized) const {
  const auto found = by_first_byte_.find(static_cast<unsigned char>(text[at]));
  if (found == by_first_byte_.end()) return nullptr;
  for (const size_t index : found->second) {
    const Token& token = tokens_[index];
    if (token.normalized == normalized && text.compare(at, token.content.size(), token.content) == 0)
      return &token;
  }
  return nullptr;
}

std::vector<AddedTokens::Piece> AddedTokens::split(std::string_view text, bool normalized) const {
  std::vector<Piece> pieces;
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    const Token* token = longest_at(text, at, normalized);
    size_t begin = at, end = token ? at + token->content.size() : at;
    if (!token || (token->single_word && !is_single_word(text, begin, end))) {
      at = token ? end : at + 1;
      continue;
    }
    while (token->lstrip && begin > done) {
      const size_t before = character_before(text, begin);
      if (!is_whitespace(character_at(text, before))) break;
      begin = before;
    }
    while (token->rstrip && end < text.size() && is_whitespace(character_at(text, end)))
      end += character_length(text, end);
    if (begin > done) pieces.push_back({-1, text.substr(done, begin - done)});
    pieces.push_back({token->id, text.substr(begin, end - begin)});
    at = done = end;
  }
  if (done < text.size()) pieces.push_back({-1, text.substr(done)});
  return pieces;
}

const std::string* AddedTokens::token_of(int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second].content;
}

std::unordered_map<std::string, int32_t> AddedTokens::ids() const {
  std::unordered_map<std::string, int32_t> ids;
  for (const Token& token : tokens_) ids[token.content] = token.id;
  return ids;
}

}  // namespace liveweight
