// tokenizer.json: what is not refused encodes and decodes anything.
#include "fuzz/tokenizer_use.h"
#include "text/json_tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace liveweight;
  const auto tokenizer = parse_tokenizer_json(fuzz::text_of(data, size));
  if (tokenizer) fuzz::use(*tokenizer);
  if (!tokenizer) fuzz::require_refusal(tokenizer.error());
  return 0;
}
