// What any tokenizer must stand once it was read.
#pragma once

#include "fuzz/input.h"
#include "liveweight/tokenizer.h"

namespace liveweight::fuzz {

constexpr std::string_view kTexts[] = {"",
                                       " ",
                                       "Hello, world!  12 + 34 = 46\n",
                                       "\xe2\x96\x81<s></s><unk>\t",
                                       "na\xc3\xafve \xf0\x9f\xa6\x80 \xff\xfe e\xcc\x81 \xef\xac\x81",
                                       "aaaaaaaaaaaaaaaa"};

inline void use(const std::shared_ptr<const Tokenizer>& tokenizer) {
  for (const std::string_view text : kTexts) {
    for (const bool special : {false, true}) {
      const auto ids = tokenizer->encode(text, special);
      if (!ids) {
        require_refusal(ids.error());
        continue;
      }
      for (const int32_t id : *ids) require(id >= 0, "a token's id is a number from 0 on");
      (void)tokenizer->decode(*ids, special);
    }
  }
  IncrementalDecoder decoder(tokenizer);
  std::string text;
  for (const int32_t id : {0, 1, 2, 5, 3, 4, 7, 259, 6, 0, -1, INT32_MAX, INT32_MIN})
    text += decoder.push(id);
  text += decoder.finish();
}

}  // namespace liveweight::fuzz
