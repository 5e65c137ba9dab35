#include <fmt/format.h>
#include <utf8proc.h>

#include <cstdlib>

#include "text/component.h"
#include "text/utf8.h"

namespace liveweight {
namespace {

class SequenceNormalizer : public Normalizer {
 public:
  explicit SequenceNormalizer(std::vector<std::unique_ptr<Normalizer>> steps) : steps_(std::move(steps)) {}
  Result<std::string> normalize(std::string text, size_t most) const override {
    for (const auto& step : steps_) {
      LW_ASSIGN(text, step->normalize(std::move(text), most));
    }
    return text;
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

class PrependNormalizer : public Normalizer {
 public:
  explicit PrependNormalizer(std::string prefix) : prefix_(std::move(prefix)) {}
  Result<std::string> normalize(std::string text, size_t) const override {
    return text.empty() ? text : prefix_ + text;
  }

 private:
  std::string prefix_;
};

class ReplaceNormalizer : public Normalizer {
 public:
  ReplaceNormalizer(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  Result<std::string> normalize(std::string text, size_t most) const override {
    return pattern_.replace_all(text, content_, most);
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class UnicodeNormalizer : public Normalizer {
 public:
  explicit UnicodeNormalizer(int options)
      : options_(static_cast<utf8proc_option_t>(options | UTF8PROC_STABLE)) {}
  Result<std::string> normalize(std::string text, size_t) const override {
    utf8proc_uint8_t* mapped = nullptr;
    const auto length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                     static_cast<utf8proc_ssize_t>(text.size()), &mapped, options_);
    if (length < 0) return fail(ErrorCode::kInvalidArgument, "text: expected UTF-8");
    std::string out(reinterpret_cast<const char*>(mapped), static_cast<size_t>(length));
    std::free(mapped);
    return out;
  }

 private:
  utf8proc_option_t options_;
};

class LowercaseNormalizer : public Normalizer {
 public:
  Result<std::string> normalize(std::string text, size_t) const override {
    std::string out;
    for (size_t at = 0; at < text.size(); at += character_length(text, at)) {
      const char32_t c = character_at(text, at);
      if (c == 0x130) {
        out += "i\xcc\x87";  // the one letter whose lower case is two
      } else {
        append_character(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
      }
    }
    return out;
  }
};

class StripNormalizer : public Normalizer {
 public:
  StripNormalizer(bool left, bool right) : left_(left), right_(right) {}
  Result<std::string> normalize(std::string text, size_t) const override {
    size_t begin = 0, end = 0;
    while (left_ && begin < text.size() && is_whitespace(character_at(text, begin)))
      begin += character_length(text, begin);
    for (size_t at = begin; at < text.size(); at += character_length(text, at)) {
      if (!right_ || !is_whitespace(character_at(text, at))) end = at + character_length(text, at);
    }
    return end > begin ? text.substr(begin, end - begin) : std::string();
  }

 private:
  bool left_, right_;
};

int unicode_form(const std::string& type) {
  if (type == "NFC") return UTF8PROC_COMPOSE;
  if (type == "NFD") return UTF8PROC_DECOMPOSE;
  if (type == "NFKC") return UTF8PROC_COMPOSE | UTF8PROC_COMPAT;
  return type == "NFKD" ? UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT : 0;
}

Result<std::unique_ptr<Normalizer>> make_sequence(const Json& json) {
  const auto list = json.find("normalizers");
  if (list == json.end() || !list->is_array()) return bad_tokenizer("Sequence.normalizers: expected a list");
  std::vector<std::unique_ptr<Normalizer>> steps;
  for (const Json& item : *list) {
    LW_ASSIGN(auto step, make_normalizer(item));
    if (step) steps.push_back(std::move(step));
  }
  return std::make_unique<SequenceNormalizer>(std::move(steps));
}

}  // namespace

Result<std::unique_ptr<Normalizer>> make_normalizer(const Json& json) {
  if (json.is_null()) return nullptr;
  LW_ASSIGN(const std::string type, type_of(json, "normalizer"));
  if (type == "Sequence") return make_sequence(json);
  if (const int form = unicode_form(type)) return std::make_unique<UnicodeNormalizer>(form);
  if (type == "Lowercase") return std::make_unique<LowercaseNormalizer>();
  if (type == "Prepend") {
    LW_ASSIGN(std::string prefix, text_field(json, "prepend"));
    return std::make_unique<PrependNormalizer>(std::move(prefix));
  }
  if (type == "Replace") {
    LW_ASSIGN(Pattern pattern, Pattern::parse(json.value("pattern", Json()), type));
    LW_ASSIGN(std::string content, text_field(json, "content"));
    return std::make_unique<ReplaceNormalizer>(std::move(pattern), std::move(content));
  }
  if (type == "Strip") {
    LW_ASSIGN(const bool left, flag_field(json, "strip_left", true));
    LW_ASSIGN(const bool right, flag_field(json, "strip_right", true));
    return std::make_unique<StripNormalizer>(left, right);
  }
  return fail(ErrorCode::kUnsupported, fmt::format("tokenizer.json: normalizer {} is not supported", type));
}

}  // namespace liveweight
