#include "base/json_nesting.h"

#include <cstddef>

namespace liveweight {

bool nests_too_deep(std::string_view json) {
  constexpr int kDeepest = 32;
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < json.size(); ++i) {
    if (json[i] == '"') quoted = !quoted;
    if (quoted && json[i] == '\\') ++i;
    if (quoted) continue;
    if ((json[i] == '{' || json[i] == '[') && ++depth > kDeepest) return true;
    if (json[i] == '}' || json[i] == ']') --depth;
  }
  return false;
}

}  // namespace liveweight
