// The stages of a tokenizer.json: each a small object made from its JSON.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/regex.h"
#include "liveweight/error.h"

namespace liveweight {

using Json = nlohmann::json;

// Text to text, before anything is split.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  // kUnsupported over `most` bytes: a few replacements one after the other can make a text of any size.
  virtual Result<std::string> normalize(std::string text, size_t most) const = 0;
};

// A text into the parts that the model sees one by one. `first` tells whether the part begins the whole text.
struct Part {
  std::string text;
  bool first = false;
};
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual Result<std::vector<Part>> split(std::vector<Part> parts) const = 0;
};

// Tokens to texts, each of which may still be joined by a later decoder.
class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual std::vector<std::string> decode(std::vector<std::string> tokens) const = 0;
};

// Null JSON gives the identity (an empty pointer). kUnsupported names a type that is not known.
Result<std::unique_ptr<Normalizer>> make_normalizer(const Json& json);
Result<std::unique_ptr<PreTokenizer>> make_pre_tokenizer(const Json& json);
Result<std::unique_ptr<Decoder>> make_decoder(const Json& json);

// {"String": "x"} or {"Regex": "x"}.
class Pattern {
 public:
  static Result<Pattern> parse(const Json& json, const std::string& where);
  // Non-overlapping matches from left to right, as [begin, end) bytes.
  Result<std::vector<std::pair<size_t, size_t>>> matches(std::string_view text) const;
  // kUnsupported where that is longer than `most` bytes.
  Result<std::string> replace_all(std::string_view text, const std::string& content, size_t most) const;

 private:
  std::string text_;
  std::optional<Regex> regex_;
};

// The string, flag or list of a component, or an error that names the component and the field.
Result<std::string> text_field(const Json& json, const char* field);
Result<bool> flag_field(const Json& json, const char* field, bool otherwise);
Result<std::string> type_of(const Json& json, const char* stage);
tl::unexpected<Error> bad_tokenizer(const std::string& what);

}  // namespace liveweight
