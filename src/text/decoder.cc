#include <fmt/format.h>

#include <charconv>

#include "text/byte_level.h"
#include "text/component.h"
#include "text/utf8.h"

namespace liveweight {
namespace {

using Texts = std::vector<std::string>;

class ByteLevelDecoder : public Decoder {
 public:
  Texts decode(Texts tokens) const override {
    std::string bytes;
    for (const std::string& token : tokens) bytes += characters_to_bytes(token).value_or(token);
    return {replace_invalid_utf8(bytes)};
  }
};

class FuseDecoder : public Decoder {
 public:
  Texts decode(Texts tokens) const override {
    std::string text;
    for (const std::string& token : tokens) text += token;
    return {text};
  }
};

// What a chain of replacements may make of one token: they can double it each time.
constexpr size_t kLongestToken = size_t{1} << 20;

class ReplaceDecoder : public Decoder {
 public:
  ReplaceDecoder(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  Texts decode(Texts tokens) const override {
    for (std::string& token : tokens) {
      if (auto replaced = pattern_.replace_all(token, content_, kLongestToken)) token = std::move(*replaced);
    }
    return tokens;
  }

 private:
  Pattern pattern_;
  std::string content_;
};

// <0xE2><0x96><0x81>: bytes that together are a text, or U+FFFD each where they are not.
class ByteFallbackDecoder : public Decoder {
 public:
  Texts decode(Texts tokens) const override {
    Texts out;
    std::string bytes;
    const auto flush = [&] {
      if (bytes.empty()) return;
      if (is_valid_utf8(bytes)) {
        out.push_back(bytes);
      } else {
        out.insert(out.end(), bytes.size(), "\xef\xbf\xbd");
      }
      bytes.clear();
    };
    for (std::string& token : tokens) {
      const int byte = byte_of(token);
      if (byte >= 0) {
        bytes += static_cast<char>(byte);
        continue;
      }
      flush();
      out.push_back(std::move(token));
    }
    flush();
    return out;
  }

 private:
  static int byte_of(const std::string& token) {
    if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
    int byte = -1;
    const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, byte, 16);
    return error == std::errc() && end == token.data() + 5 ? byte : -1;
  }
};

class StripDecoder : public Decoder {
 public:
  StripDecoder(std::string content, int64_t start, int64_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}
  Texts decode(Texts tokens) const override {
    for (std::string& token : tokens) {
      for (int64_t i = 0; i < start_ && token.starts_with(content_); ++i) token.erase(0, content_.size());
      for (int64_t i = 0; i < stop_ && token.ends_with(content_); ++i)
        token.resize(token.size() - content_.size());
    }
    return tokens;
  }

 private:
  std::string content_;
  int64_t start_, stop_;
};

class MetaspaceDecoder : public Decoder {
 public:
  MetaspaceDecoder(std::string replacement, bool strip_first)
      : replacement_(std::move(replacement)), strip_first_(strip_first) {}
  Texts decode(Texts tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      std::string text;
      for (size_t at = 0; at < tokens[i].size();) {
        const bool space = tokens[i].compare(at, replacement_.size(), replacement_) == 0;
        const bool dropped = space && at == 0 && i == 0 && strip_first_;
        if (space && !dropped) text += ' ';
        if (!space) text += tokens[i][at];
        at += space ? replacement_.size() : 1;
      }
      tokens[i] = std::move(text);
    }
    return tokens;
  }

 private:
  std::string replacement_;
  bool strip_first_;
};

class SequenceDecoder : public Decoder {
 public:
  explicit SequenceDecoder(std::vector<std::unique_ptr<Decoder>> steps) : steps_(std::move(steps)) {}
  Texts decode(Texts tokens) const override {
    for (const auto& step : steps_) tokens = step->decode(std::move(tokens));
    return tokens;
  }

 private:
  std::vector<std::unique_ptr<Decoder>> steps_;
};

using Made = Result<std::unique_ptr<Decoder>>;

Made make_sequence(const Json& json) {
  const auto list = json.find("decoders");
  if (list == json.end() || !list->is_array()) return bad_tokenizer("Sequence.decoders: expected a list");
  std::vector<std::unique_ptr<Decoder>> steps;
  for (const Json& item : *list) {
    LW_ASSIGN(auto step, make_decoder(item));
    if (step) steps.push_back(std::move(step));
  }
  return std::make_unique<SequenceDecoder>(std::move(steps));
}

Result<int64_t> count_field(const Json& json, const char* field) {
  const auto found = json.find(field);
  constexpr uint64_t kMost = 1 << 20;
  if (found != json.end() && found->is_number_unsigned() && found->get<uint64_t>() <= kMost)
    return found->get<int64_t>();
  return bad_tokenizer(fmt::format("Strip.{}: expected a small integer", field));
}

Made make_strip(const Json& json) {
  LW_ASSIGN(std::string content, text_field(json, "content"));
  if (content.empty()) return bad_tokenizer("Strip.content: expected a character");
  LW_ASSIGN(const int64_t start, count_field(json, "start"));
  LW_ASSIGN(const int64_t stop, count_field(json, "stop"));
  return std::make_unique<StripDecoder>(std::move(content), start, stop);
}

Made make_metaspace(const Json& json) {
  LW_ASSIGN(std::string replacement, text_field(json, "replacement"));
  if (replacement.empty()) return bad_tokenizer("Metaspace.replacement: expected a character");
  LW_ASSIGN(const bool prefix, flag_field(json, "add_prefix_space", true));
  const std::string scheme =
      json.contains("prepend_scheme") ? text_field(json, "prepend_scheme").value_or("") : "";
  return std::make_unique<MetaspaceDecoder>(std::move(replacement),
                                            scheme.empty() ? prefix : scheme != "never");
}

}  // namespace

Made make_decoder(const Json& json) {
  if (json.is_null()) return nullptr;
  LW_ASSIGN(const std::string type, type_of(json, "decoder"));
  if (type == "Sequence") return make_sequence(json);
  if (type == "ByteLevel") return std::make_unique<ByteLevelDecoder>();
  if (type == "ByteFallback") return std::make_unique<ByteFallbackDecoder>();
  if (type == "Fuse") return std::make_unique<FuseDecoder>();
  if (type == "Strip") return make_strip(json);
  if (type == "Metaspace") return make_metaspace(json);
  if (type == "Replace") {
    LW_ASSIGN(Pattern pattern, Pattern::parse(json.value("pattern", Json()), type));
    LW_ASSIGN(std::string content, text_field(json, "content"));
    return std::make_unique<ReplaceDecoder>(std::move(pattern), std::move(content));
  }
  return fail(ErrorCode::kUnsupported, fmt::format("tokenizer.json: decoder {} is not supported", type));
}

}  // namespace liveweight
