// Hugging Face's tokenizer.json.
#pragma once

#include "liveweight/tokenizer.h"

namespace liveweight {

Result<std::shared_ptr<const Tokenizer>> parse_tokenizer_json(std::string_view text);

}  // namespace liveweight
