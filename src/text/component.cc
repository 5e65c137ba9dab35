#include "text/component.h"

#include <fmt/format.h>

#include "text/utf8.h"

namespace liveweight {

tl::unexpected<Error> bad_tokenizer(const std::string& what) {
  return fail(ErrorCode::kBadCheckpoint, "tokenizer.json: " + what, {"tokenizer.json"});
}

Result<std::string> type_of(const Json& json, const char* stage) {
  if (!json.is_object() || !json.contains("type") || !json["type"].is_string()) {
    return bad_tokenizer(fmt::format("{}: expected an object with a type", stage));
  }
  return json["type"].get<std::string>();
}

namespace {

// "Split.behavior", or the field alone where its object has no type.
std::string place_of(const Json& json, const char* field) {
  const auto type = json.find("type");
  const bool typed = type != json.end() && type->is_string();
  return typed ? fmt::format("{}.{}", type->get_ref<const std::string&>(), field) : field;
}

}  // namespace

Result<std::string> text_field(const Json& json, const char* field) {
  const auto found = json.find(field);
  if (found != json.end() && found->is_string()) return found->get<std::string>();
  return bad_tokenizer(place_of(json, field) + ": expected a string");
}

Result<bool> flag_field(const Json& json, const char* field, bool otherwise) {
  const auto found = json.find(field);
  if (found == json.end() || found->is_null()) return otherwise;
  if (found->is_boolean()) return found->get<bool>();
  return bad_tokenizer(place_of(json, field) + ": expected true or false");
}

Result<Pattern> Pattern::parse(const Json& json, const std::string& where) {
  Pattern pattern;
  if (json.is_object() && json.contains("String") && json["String"].is_string()) {
    pattern.text_ = json["String"].get<std::string>();
    return pattern;
  }
  if (json.is_object() && json.contains("Regex") && json["Regex"].is_string()) {
    LW_ASSIGN(pattern.regex_, Regex::compile(json["Regex"].get_ref<const std::string&>()));
    return pattern;
  }
  return bad_tokenizer(fmt::format("{}.pattern: expected {{\"String\": ...}} or {{\"Regex\": ...}}", where));
}

Result<std::vector<std::pair<size_t, size_t>>> Pattern::matches(std::string_view text) const {
  std::vector<std::pair<size_t, size_t>> found;
  if (!regex_) {
    for (size_t at = 0; !text_.empty() && (at = text.find(text_, at)) != std::string_view::npos;
         at += text_.size()) {
      found.emplace_back(at, at + text_.size());
    }
    return found;
  }
  for (size_t at = 0; at <= text.size();) {
    LW_ASSIGN(const auto match, regex_->search(text, static_cast<int64_t>(at)));
    if (!match) break;
    const auto [begin, end] = (*match)[0];
    if (begin < end) found.emplace_back(begin, end);
    at = static_cast<size_t>(end);
    if (begin == end) at += at < text.size() ? character_length(text, at) : 1;
  }
  return found;
}

Result<std::string> Pattern::replace_all(std::string_view text, const std::string& content,
                                         size_t most) const {
  LW_ASSIGN(const auto found, matches(text));
  size_t bytes = text.size() + found.size() * content.size();
  for (const auto& [begin, end] : found) bytes -= end - begin;
  if (bytes > most) {
    return fail(ErrorCode::kUnsupported,
                fmt::format("tokenizer: expected replacements to make at most {} bytes of a text, got {}",
                            most, bytes));
  }
  std::string out;
  size_t at = 0;
  for (const auto& [begin, end] : found) {
    out += text.substr(at, begin - at);
    out += content;
    at = end;
  }
  return out += text.substr(at);
}

}  // namespace liveweight
