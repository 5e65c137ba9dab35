#include "bench/diff_bench.h"

#include <cstring>

#include "base/memory.h"
#include "bench/positions.h"
#include "bench/rounds.h"
#include "bench/streams.h"
#include "liveweight/delta.h"

namespace liveweight::bench {
namespace {

// A tensor of the checkpoint, and its next version.
struct Pair {
  std::string name;
  TensorView old;
  TensorView updated;
  std::byte* bytes = nullptr;  // of the next version
};

std::vector<Pair> pair_up(const Checkpoint& checkpoint, const Buffer& memory) {
  std::vector<Pair> pairs;
  std::byte* next = memory.data();
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    const TensorView& old = tensor.view;
    copy_memory(next, old.data, old.bytes);
    pairs.push_back({std::string(tensor.name), old, {old.dtype, old.shape, next, old.bytes}, next});
    next += old.bytes;
  }
  return pairs;
}

// Turns the last bit of the elements over: a second time is back where it began.
void turn(const std::vector<Pair>& pairs, double share) {
  std::mt19937_64 random(1);
  for (const Pair& pair : pairs) {
    const auto cell = static_cast<size_t>(cell_bytes(pair.old.dtype));
    const auto cells = static_cast<int64_t>(pair.old.bytes / cell);
    for (const uint32_t at : draw_positions(random, cells, share)) pair.bytes[at * cell] ^= std::byte{1};
  }
}

Result<uint64_t> compare_all(const std::vector<Pair>& pairs) {
  uint64_t changed = 0;
  for (const Pair& pair : pairs) {
    LW_ASSIGN(const TensorDelta delta, compare_tensors(pair.name, pair.old, pair.updated));
    changed += delta.positions.size();
  }
  return changed;
}

}  // namespace

Result<std::vector<DiffFigures>> measure_diff(const std::filesystem::path& directory,
                                              const std::vector<double>& shares, int rounds) {
  LW_ASSIGN(const Checkpoint checkpoint, Checkpoint::open(directory));
  uint64_t bytes = 0;
  for (const CheckpointTensor& tensor : checkpoint.tensors()) bytes += tensor.view.bytes;
  LW_ASSIGN(const Buffer memory, Buffer::allocate(bytes));
  const std::vector<Pair> pairs = pair_up(checkpoint, memory);
  std::vector<DiffFigures> all;
  for (const double share : shares) {
    turn(pairs, share);
    DiffFigures figures{share, 0, 2 * bytes};
    std::vector<double> diffs, reads;
    for (int i = 0; i < rounds; ++i) {
      Result<uint64_t> changed;
      diffs.push_back(seconds_of([&] { changed = compare_all(pairs); }));
      LW_ASSIGN(figures.changed, changed);
      reads.push_back(seconds_of([&] {
        for (const Pair& pair : pairs) stream(pair.old.data, pair.old.bytes, nullptr, 0);
        stream(memory.data(), bytes, nullptr, 0);
      }));
    }
    turn(pairs, share);
    figures.diff_seconds = median(diffs);
    figures.read_seconds = median(reads);
    figures.share_of_limit = share_of(reads, diffs);
    all.push_back(figures);
  }
  return all;
}

}  // namespace liveweight::bench
