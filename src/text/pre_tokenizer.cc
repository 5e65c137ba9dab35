#include <fmt/format.h>

#include <functional>

#include "text/byte_level.h"
#include "text/component.h"
#include "text/utf8.h"

namespace liveweight {
namespace {

constexpr const char* kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

using Ranges = std::vector<std::pair<size_t, size_t>>;

enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

struct Span {
  size_t begin, end;
  bool matched;
};

// Matches and what lies between them, in order.
std::vector<Span> spans_of(const Ranges& matches, size_t size, bool invert) {
  std::vector<Span> spans;
  size_t at = 0;
  for (const auto& [begin, end] : matches) {
    if (begin > at) spans.push_back({at, begin, invert});
    spans.push_back({begin, end, !invert});
    at = end;
  }
  if (at < size) spans.push_back({at, size, invert});
  return spans;
}

Ranges apply_behavior(const std::vector<Span>& spans, Behavior behavior) {
  Ranges out;
  bool merge_next = false, previous_matched = false;
  for (const Span& span : spans) {
    const bool joins =
        !out.empty() && ((behavior == Behavior::kMergedWithPrevious && span.matched && !previous_matched) ||
                         (behavior == Behavior::kMergedWithNext && merge_next && !span.matched) ||
                         (behavior == Behavior::kContiguous && span.matched == previous_matched));
    if (joins) {
      out.back().second = span.end;
    } else if (!(behavior == Behavior::kRemoved && span.matched)) {
      out.emplace_back(span.begin, span.end);
    }
    merge_next = span.matched;
    previous_matched = span.matched;
  }
  return out;
}

void append_parts(const Part& part, const Ranges& ranges, std::vector<Part>& out) {
  for (const auto& [begin, end] : ranges) {
    if (end > begin) out.push_back({part.text.substr(begin, end - begin), part.first && begin == 0});
  }
}

class SplitPreTokenizer : public PreTokenizer {
 public:
  SplitPreTokenizer(Pattern pattern, Behavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  Result<std::vector<Part>> split(std::vector<Part> parts) const override {
    std::vector<Part> out;
    for (const Part& part : parts) {
      LW_ASSIGN(const Ranges matches, pattern_.matches(part.text));
      append_parts(part, apply_behavior(spans_of(matches, part.text.size(), invert_), behavior_), out);
    }
    return out;
  }

 private:
  Pattern pattern_;
  Behavior behavior_;
  bool invert_;
};

// Each character that fits is a match of its own.
class CharacterPreTokenizer : public PreTokenizer {
 public:
  CharacterPreTokenizer(std::function<bool(char32_t)> fits, Behavior behavior)
      : fits_(std::move(fits)), behavior_(behavior) {}
  Result<std::vector<Part>> split(std::vector<Part> parts) const override {
    std::vector<Part> out;
    for (const Part& part : parts) {
      Ranges matches;
      for (size_t at = 0; at < part.text.size();) {
        const size_t length = character_length(part.text, at);
        if (fits_(character_at(part.text, at))) matches.emplace_back(at, at + length);
        at += length;
      }
      append_parts(part, apply_behavior(spans_of(matches, part.text.size(), false), behavior_), out);
    }
    return out;
  }

 private:
  std::function<bool(char32_t)> fits_;
  Behavior behavior_;
};

class ByteLevelPreTokenizer : public PreTokenizer {
 public:
  ByteLevelPreTokenizer(bool add_prefix_space, std::unique_ptr<PreTokenizer> splitter)
      : add_prefix_space_(add_prefix_space), splitter_(std::move(splitter)) {}
  Result<std::vector<Part>> split(std::vector<Part> parts) const override {
    if (add_prefix_space_) {
      for (Part& part : parts) {
        if (!part.text.starts_with(' ')) part.text.insert(0, " ");
      }
    }
    if (splitter_) {
      LW_ASSIGN(parts, splitter_->split(std::move(parts)));
    }
    for (Part& part : parts) part.text = bytes_to_characters(part.text);
    return parts;
  }

 private:
  bool add_prefix_space_;
  std::unique_ptr<PreTokenizer> splitter_;
};

class MetaspacePreTokenizer : public PreTokenizer {
 public:
  enum class Prepend { kAlways, kFirst, kNever };
  MetaspacePreTokenizer(std::string replacement, Prepend prepend, bool split)
      : replacement_(std::move(replacement)), prepend_(prepend), split_(split) {}
  Result<std::vector<Part>> split(std::vector<Part> parts) const override {
    std::vector<Part> out;
    for (Part& part : parts) {
      std::string text;
      for (const char c : part.text) {
        if (c == ' ') text += replacement_;
        if (c != ' ') text += c;
      }
      const bool wanted = prepend_ == Prepend::kAlways || (prepend_ == Prepend::kFirst && part.first);
      if (wanted && !text.starts_with(replacement_)) text.insert(0, replacement_);
      part.text = std::move(text);
      if (!split_) {
        out.push_back(std::move(part));
        continue;
      }
      Ranges matches;
      for (size_t at = 0; (at = part.text.find(replacement_, at)) != std::string::npos;
           at += replacement_.size()) {
        matches.emplace_back(at, at + replacement_.size());
      }
      append_parts(
          part, apply_behavior(spans_of(matches, part.text.size(), false), Behavior::kMergedWithNext), out);
    }
    return out;
  }

 private:
  std::string replacement_;
  Prepend prepend_;
  bool split_;
};

class SequencePreTokenizer : public PreTokenizer {
 public:
  explicit SequencePreTokenizer(std::vector<std::unique_ptr<PreTokenizer>> steps)
      : steps_(std::move(steps)) {}
  Result<std::vector<Part>> split(std::vector<Part> parts) const override {
    for (const auto& step : steps_) {
      LW_ASSIGN(parts, step->split(std::move(parts)));
    }
    return parts;
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

Result<Behavior> parse_behavior(const Json& json) {
  LW_ASSIGN(const std::string name, text_field(json, "behavior"));
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  return bad_tokenizer(fmt::format("behavior: {} is not known", name));
}

using Made = Result<std::unique_ptr<PreTokenizer>>;

Made make_sequence(const Json& json) {
  const auto list = json.find("pretokenizers");
  if (list == json.end() || !list->is_array())
    return bad_tokenizer("Sequence.pretokenizers: expected a list");
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  for (const Json& item : *list) {
    LW_ASSIGN(auto step, make_pre_tokenizer(item));
    if (step) steps.push_back(std::move(step));
  }
  return std::make_unique<SequencePreTokenizer>(std::move(steps));
}

Made make_split(const Json& json) {
  LW_ASSIGN(Pattern pattern, Pattern::parse(json.value("pattern", Json()), "Split"));
  LW_ASSIGN(const Behavior behavior, parse_behavior(json));
  LW_ASSIGN(const bool invert, flag_field(json, "invert", false));
  return std::make_unique<SplitPreTokenizer>(std::move(pattern), behavior, invert);
}

Made make_regex_split(const char* pattern, Behavior behavior, bool invert) {
  LW_ASSIGN(Pattern compiled, Pattern::parse({{"Regex", pattern}}, "Split"));
  return std::make_unique<SplitPreTokenizer>(std::move(compiled), behavior, invert);
}

Made make_byte_level(const Json& json) {
  LW_ASSIGN(const bool prefix, flag_field(json, "add_prefix_space", true));
  LW_ASSIGN(const bool use_regex, flag_field(json, "use_regex", true));
  std::unique_ptr<PreTokenizer> splitter;
  if (use_regex) {
    LW_ASSIGN(splitter, make_regex_split(kGpt2Pattern, Behavior::kIsolated, false));
  }
  return std::make_unique<ByteLevelPreTokenizer>(prefix, std::move(splitter));
}

Made make_metaspace(const Json& json) {
  using Prepend = MetaspacePreTokenizer::Prepend;
  LW_ASSIGN(std::string replacement, text_field(json, "replacement"));
  if (replacement.empty()) return bad_tokenizer("Metaspace.replacement: expected a character");
  LW_ASSIGN(const bool split, flag_field(json, "split", true));
  LW_ASSIGN(const bool add_prefix_space, flag_field(json, "add_prefix_space", true));
  Prepend prepend = add_prefix_space ? Prepend::kAlways : Prepend::kNever;
  if (json.contains("prepend_scheme")) {
    LW_ASSIGN(const std::string scheme, text_field(json, "prepend_scheme"));
    prepend = scheme == "first" ? Prepend::kFirst : scheme == "never" ? Prepend::kNever : Prepend::kAlways;
  }
  return std::make_unique<MetaspacePreTokenizer>(std::move(replacement), prepend, split);
}

}  // namespace

Made make_pre_tokenizer(const Json& json) {
  if (json.is_null()) return nullptr;
  LW_ASSIGN(const std::string type, type_of(json, "pre_tokenizer"));
  if (type == "Sequence") return make_sequence(json);
  if (type == "Split") return make_split(json);
  if (type == "ByteLevel") return make_byte_level(json);
  if (type == "Metaspace") return make_metaspace(json);
  if (type == "Whitespace") return make_regex_split(R"(\w+|[^\w\s]+)", Behavior::kRemoved, true);
  if (type == "WhitespaceSplit")
    return std::make_unique<CharacterPreTokenizer>(is_whitespace, Behavior::kRemoved);
  if (type == "Punctuation")
    return std::make_unique<CharacterPreTokenizer>(is_punctuation, Behavior::kIsolated);
  if (type == "Digits") {
    LW_ASSIGN(const bool individual, flag_field(json, "individual_digits", false));
    return std::make_unique<CharacterPreTokenizer>(is_number,
                                                   individual ? Behavior::kIsolated : Behavior::kContiguous);
  }
  return fail(ErrorCode::kUnsupported,
              fmt::format("tokenizer.json: pre_tokenizer {} is not supported", type));
}

}  // namespace liveweight
