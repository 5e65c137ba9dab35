// Text to tokens and back with the sample's tokenizer, of which every text comes back: ill-formed UTF-8 as
// U+FFFD.
#include "fuzz/input.h"
#include "liveweight/tokenizer.h"
#include "text/utf8.h"

namespace liveweight::fuzz {
namespace {

std::string pushed_one_by_one(const std::shared_ptr<const Tokenizer>& tokenizer,
                              const std::vector<int32_t>& ids) {
  IncrementalDecoder decoder(tokenizer);
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

void check(std::string_view text) {
  static const auto tokenizer =
      Tokenizer::load(LIVEWEIGHT_SOURCE_DIR "/samples/addition/checkpoints/step_02500").value();
  const auto plain = tokenizer->encode(text, false);
  require(plain.has_value(), "every text can be encoded");
  require(tokenizer->decode(*plain, false) == replace_invalid_utf8(text), "a text comes back");
  require(pushed_one_by_one(tokenizer, *plain) == tokenizer->decode(*plain),
          "tokens give one by one what they give together");
  const auto framed = tokenizer->encode(text, true);
  require(framed && framed->size() == plain->size() + 1 && framed->at(0) == 1, "a text begins with BOS");
  // The same bytes as ids, known or not.
  std::vector<int32_t> ids;
  for (size_t at = 0; at + 2 <= text.size(); at += 2) {
    int16_t id = 0;
    std::memcpy(&id, text.data() + at, sizeof id);
    ids.push_back(id);
  }
  require(is_valid_utf8(tokenizer->decode(ids)), "what is decoded is text");
  require(is_valid_utf8(pushed_one_by_one(tokenizer, ids)), "what is decoded one by one is text");
}

}  // namespace
}  // namespace liveweight::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  liveweight::fuzz::check(liveweight::fuzz::text_of(data, size));
  return 0;
}
