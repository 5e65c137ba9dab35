// SentencePiece's tokenizer.model: a protocol buffer of scored pieces, merged best score first.
#pragma once

#include "liveweight/tokenizer.h"

namespace liveweight {

// `add_bos` and `add_eos` are tokenizer_config.json's.
Result<std::shared_ptr<const Tokenizer>> parse_sentencepiece(std::string_view bytes, bool add_bos,
                                                             bool add_eos);

}  // namespace liveweight
