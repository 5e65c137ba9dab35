// What a tokenizer adds around every text: the ids before and after it.
#pragma once

#include <vector>

#include "text/component.h"

namespace liveweight {

struct SpecialFrame {
  std::vector<int32_t> before;
  std::vector<int32_t> after;
};

Result<SpecialFrame> parse_post_processor(const Json& json);

}  // namespace liveweight
