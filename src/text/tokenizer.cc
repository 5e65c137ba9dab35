#include "liveweight/tokenizer.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "liveweight/checkpoint.h"
#include "text/json_tokenizer.h"
#include "text/sentencepiece.h"
#include "text/utf8.h"

namespace liveweight {
namespace {

bool is_there(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

// tokenizer_config.json's flag; many directories lack the file or the field.
bool config_flag(const std::filesystem::path& directory, const char* field, bool otherwise) {
  const auto text = read_text_file(directory / "tokenizer_config.json");
  const auto json = text ? nlohmann::json::parse(*text, nullptr, false) : nlohmann::json();
  const auto found = json.is_object() ? json.find(field) : json.end();
  return json.is_object() && found != json.end() && found->is_boolean() ? found->get<bool>() : otherwise;
}

}  // namespace

bool Tokenizer::present(const std::filesystem::path& directory) {
  return is_there(directory / "tokenizer.json") || is_there(directory / "tokenizer.model");
}

Result<std::shared_ptr<const Tokenizer>> Tokenizer::load(const std::filesystem::path& directory) {
  if (is_there(directory / "tokenizer.json")) {
    LW_ASSIGN(const std::string text, read_text_file(directory / "tokenizer.json"));
    return parse_tokenizer_json(text);
  }
  if (is_there(directory / "tokenizer.model")) {
    LW_ASSIGN(const std::string bytes, read_text_file(directory / "tokenizer.model"));
    return parse_sentencepiece(bytes, config_flag(directory, "add_bos_token", true),
                               config_flag(directory, "add_eos_token", false));
  }
  return fail(
      ErrorCode::kIo,
      fmt::format("{}: expected tokenizer.json or tokenizer.model, found neither", directory.string()),
      {directory.string()});
}

IncrementalDecoder::IncrementalDecoder(std::shared_ptr<const Tokenizer> tokenizer)
    : tokenizer_(std::move(tokenizer)) {}

// Decoding a token alone would lose the space before it, so the tokens shown last are decoded along with it.
std::string IncrementalDecoder::fresh_text() const {
  const std::span<const int32_t> ids(ids_);
  const std::string shown = tokenizer_->decode(ids.subspan(context_, shown_ - context_));
  const std::string text = tokenizer_->decode(ids.subspan(context_));
  return text.size() > shown.size() ? text.substr(shown.size()) : std::string();
}

std::string IncrementalDecoder::push(int32_t id) {
  ids_.push_back(id);
  std::string text = fresh_text();
  if (text.empty() || text.ends_with("\xef\xbf\xbd")) return {};
  context_ = shown_;
  shown_ = ids_.size();
  return text;
}

std::string IncrementalDecoder::finish() {
  return fresh_text();
}

}  // namespace liveweight
