#include "base/regex.h"

#include <fmt/format.h>
#include <oniguruma.h>

#include <algorithm>
#include <mutex>

namespace liveweight {
namespace {

constexpr unsigned long kRetryLimit = 10'000'000;

const OnigUChar* bytes(const char* text) {
  return reinterpret_cast<const OnigUChar*>(text);
}

std::string message_of(int code, OnigErrorInfo* info) {
  OnigUChar text[ONIG_MAX_ERROR_MESSAGE_LEN];
  const int length = onig_error_code_to_str(text, code, info);
  return {reinterpret_cast<const char*>(text), static_cast<size_t>(std::max(0, length))};
}

void initialise_once() {
  static std::once_flag once;
  std::call_once(once, [] {
    OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
    onig_initialize(encodings, 1);
    onig_set_retry_limit_in_search(kRetryLimit);
  });
}

// The number that stands at `at` as \1, $1 or \g<1>, and how many characters that took; 0 where none does.
struct Reference {
  int group = 0;
  size_t length = 0;
};

Reference reference_at(std::string_view text, size_t at) {
  if ((text[at] != '\\' && text[at] != '$') || at + 1 >= text.size()) return {};
  const auto digit = [&](size_t i) { return i < text.size() && text[i] >= '0' && text[i] <= '9'; };
  if (digit(at + 1)) {
    const bool two = digit(at + 2);
    const int group = two ? (text[at + 1] - '0') * 10 + text[at + 2] - '0' : text[at + 1] - '0';
    return {group, two ? 3u : 2u};
  }
  if (text[at] == '\\' && text.substr(at + 1, 2) == "g<" && digit(at + 3) && text.substr(at + 4, 1) == ">") {
    return {text[at + 3] - '0', 5};
  }
  return {};
}

}  // namespace

struct Regex::Program {
  regex_t* compiled = nullptr;
  ~Program() {
    if (compiled) onig_free(compiled);
  }
};

Result<Regex> Regex::compile(std::string_view pattern) {
  initialise_once();
  auto program = std::make_shared<Program>();
  OnigErrorInfo info;
  const int code = onig_new(&program->compiled, bytes(pattern.data()), bytes(pattern.data() + pattern.size()),
                            ONIG_OPTION_NONE, ONIG_ENCODING_UTF8, ONIG_SYNTAX_RUBY, &info);
  if (code != ONIG_NORMAL) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("regular expression {}: {}", pattern, message_of(code, &info)));
  }
  Regex regex;
  regex.program_ = std::move(program);
  return regex;
}

Result<std::optional<Regex::Match>> Regex::search(std::string_view text, int64_t from) const {
  OnigRegion* region = onig_region_new();
  const char* end = text.data() + text.size();
  const int code = onig_search(program_->compiled, bytes(text.data()), bytes(end), bytes(text.data() + from),
                               bytes(end), region, ONIG_OPTION_NONE);
  std::optional<Match> match;
  if (code >= 0) {
    match.emplace();
    for (int i = 0; i < region->num_regs; ++i) match->push_back({region->beg[i], region->end[i]});
  }
  onig_region_free(region, 1);
  if (code < ONIG_MISMATCH) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("regular expression: {}", message_of(code, nullptr)));
  }
  return match;
}

Result<bool> Regex::matches_at_start(std::string_view text) const {
  const char* end = text.data() + text.size();
  const int code = onig_match(program_->compiled, bytes(text.data()), bytes(end), bytes(text.data()), nullptr,
                              ONIG_OPTION_NONE);
  if (code < ONIG_MISMATCH) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("regular expression: {}", message_of(code, nullptr)));
  }
  return code >= 0;
}

Result<std::string> Regex::replace_all(std::string_view text, std::string_view replacement) const {
  std::string out;
  int64_t at = 0;
  while (at <= static_cast<int64_t>(text.size())) {
    LW_ASSIGN(const std::optional<Match> match, search(text, at));
    if (!match) break;
    const Group whole = (*match)[0];
    out += text.substr(at, whole.begin - at);
    for (size_t i = 0; i < replacement.size();) {
      const Reference reference = reference_at(replacement, i);
      if (reference.length == 0) {
        out += replacement[i++];
        continue;
      }
      if (reference.group < static_cast<int>(match->size())) {
        const Group group = (*match)[reference.group];
        if (group.begin >= 0) out += text.substr(group.begin, group.end - group.begin);
      }
      i += reference.length;
    }
    at = whole.end;
    if (whole.begin == whole.end) {
      if (at < static_cast<int64_t>(text.size())) out += text[at];
      ++at;
    }
  }
  if (at < static_cast<int64_t>(text.size())) out += text.substr(at);
  return out;
}

}  // namespace liveweight
