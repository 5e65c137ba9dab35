// tokenizer.model: what is not refused encodes and decodes anything.
#include "fuzz/tokenizer_use.h"
#include "text/sentencepiece.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace liveweight;
  const auto tokenizer = parse_sentencepiece(fuzz::text_of(data, size), true, true);
  if (tokenizer) fuzz::use(*tokenizer);
  if (!tokenizer) fuzz::require_refusal(tokenizer.error());
  return 0;
}
