#include "bench/limits_bench.h"

#include <fcntl.h>

#include "base/memory.h"
#include "base/temporary_folder.h"
#include "bench/rounds.h"
#include "bench/streams.h"
#include "checkpoint/file.h"
#include "checkpoint/mapping.h"

namespace liveweight::bench {
namespace {

struct Loop {
  const char* name;
  bool mapped_file = false;
  uint64_t written_of_two = 0;  // of two bytes read
  Stores stores = Stores::kNonTemporal;
};

constexpr Loop kLoops[] = {
    {"read"},
    {"mapped file", true},
    {"2 to 1", false, 1},
    {"2 to 1", false, 1, Stores::kRegular},
    {"copy", false, 2},
    {"copy", false, 2, Stores::kRegular},
};

Status write_file_of(const std::filesystem::path& path, const Buffer& bytes) {
  LW_ASSIGN(const FileDescriptor file, open_file(path, O_WRONLY | O_CREAT, "create"));
  return write_file(file, path, {bytes.data(), bytes.size()}, 0);
}

}  // namespace

Result<std::vector<LimitFigures>> measure_limits(uint64_t bytes, int rounds) {
  LW_ASSIGN(const Buffer source, Buffer::allocate(bytes));
  LW_ASSIGN(const Buffer target, Buffer::allocate(bytes));
  LW_ASSIGN(const TemporaryFolder folder, TemporaryFolder::make("liveweight-bench-limits"));
  LW_TRY(write_file_of(folder.path() / "pages", source));
  LW_ASSIGN(const Mapping file, Mapping::open(folder.path() / "pages", Mapping::Access::kRead));
  std::vector<double> seconds[std::size(kLoops)][2];
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < std::size(kLoops); ++i) {
      const Loop& loop = kLoops[i];
      const std::byte* from = loop.mapped_file ? file.bytes().data() : source.data();
      for (const bool one_thread : {true, false}) {
        seconds[i][one_thread].push_back(seconds_of([&] {
          stream(from, bytes, target.data(), bytes / 2 * loop.written_of_two, {loop.stores, one_thread});
        }));
      }
    }
  }
  std::vector<LimitFigures> all;
  for (size_t i = 0; i < std::size(kLoops); ++i) {
    const Loop& loop = kLoops[i];
    const uint64_t moved_bytes = bytes + bytes / 2 * loop.written_of_two;
    const double moved = static_cast<double>(moved_bytes) / 1e9;
    const char* stores = loop.stores == Stores::kNonTemporal ? "non-temporal" : "regular";
    all.push_back({loop.name, loop.written_of_two ? stores : "", moved / median(seconds[i][true]),
                   moved / median(seconds[i][false])});
  }
  return all;
}

}  // namespace liveweight::bench
