#include "text/json_tokenizer.h"

#include "base/json_nesting.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/component.h"
#include "text/post_processor.h"
#include "text/utf8.h"

namespace liveweight {
namespace {

constexpr size_t kLongestText = size_t{64} << 20;  // that a normalizer may make of a shorter one

class JsonTokenizer : public Tokenizer {
 public:
  static Result<std::shared_ptr<const Tokenizer>> parse(const Json& json) {
    auto tokenizer = std::make_shared<JsonTokenizer>();
    LW_ASSIGN(tokenizer->added_, AddedTokens::parse(json.value("added_tokens", Json())));
    LW_ASSIGN(tokenizer->normalizer_, make_normalizer(json.value("normalizer", Json())));
    LW_ASSIGN(tokenizer->pre_tokenizer_, make_pre_tokenizer(json.value("pre_tokenizer", Json())));
    LW_ASSIGN(tokenizer->model_, BpeModel::parse(json.value("model", Json())));
    LW_ASSIGN(tokenizer->frame_, parse_post_processor(json.value("post_processor", Json())));
    LW_ASSIGN(tokenizer->decoder_, make_decoder(json.value("decoder", Json())));
    return tokenizer;
  }

  Result<std::vector<int32_t>> encode(std::string_view raw, bool add_special_tokens) const override {
    const std::string replaced = is_valid_utf8(raw) ? std::string() : replace_invalid_utf8(raw);
    const std::string_view text = replaced.empty() ? raw : std::string_view(replaced);
    std::vector<int32_t> ids;
    if (add_special_tokens) ids = frame_.before;
    bool first = true;
    for (const AddedTokens::Piece& piece : added_.split(text, false)) {
      if (piece.id >= 0) {
        ids.push_back(piece.id);
      } else {
        LW_TRY(encode_text(std::string(piece.text), first, ids));
      }
      first = false;
    }
    if (add_special_tokens) ids.insert(ids.end(), frame_.after.begin(), frame_.after.end());
    return ids;
  }

  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens) const override {
    std::vector<std::string> tokens;
    for (const int32_t id : ids) {
      if (skip_special_tokens && added_.is_special(id)) continue;
      const std::string* token = added_.token_of(id);
      if (!token) token = model_.token_of(id);
      if (token) tokens.push_back(*token);
    }
    const bool joined_by_spaces = !decoder_;
    if (decoder_) tokens = decoder_->decode(std::move(tokens));
    std::string text;
    for (size_t i = 0; i < tokens.size(); ++i) text += (joined_by_spaces && i > 0 ? " " : "") + tokens[i];
    return text;
  }

 private:
  Status encode_text(std::string text, bool first, std::vector<int32_t>& ids) const {
    if (normalizer_) {
      const size_t most = std::max(kLongestText, 8 * text.size());
      LW_ASSIGN(text, normalizer_->normalize(std::move(text), most));
    }
    for (const AddedTokens::Piece& piece : added_.split(text, true)) {
      if (piece.id >= 0) {
        ids.push_back(piece.id);
        continue;
      }
      std::vector<Part> parts = {{std::string(piece.text), first && piece.text.data() == text.data()}};
      if (pre_tokenizer_) {
        LW_ASSIGN(parts, pre_tokenizer_->split(std::move(parts)));
      }
      for (const Part& part : parts) model_.encode(part.text, ids);
    }
    return {};
  }

  AddedTokens added_;
  std::unique_ptr<Normalizer> normalizer_;
  std::unique_ptr<PreTokenizer> pre_tokenizer_;
  BpeModel model_;
  SpecialFrame frame_;
  std::unique_ptr<Decoder> decoder_;
};

}  // namespace

Result<std::shared_ptr<const Tokenizer>> parse_tokenizer_json(std::string_view text) {
  const Json json = parse_shallow<Json>(text);
  if (!json.is_object()) return bad_tokenizer("expected a JSON object");
  return JsonTokenizer::parse(json);
}

}  // namespace liveweight
