#include "base/name_table.h"

#include <xxhash.h>

namespace liveweight {

uint64_t NameTable::hash_of(std::string_view name) {
  return XXH3_64bits(name.data(), name.size());
}

}  // namespace liveweight
