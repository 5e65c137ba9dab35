// What changed between two versions of a checkpoint: made by comparing them, written and read as directories
// (docs/formats-delta.md), and put into a plain checkpoint. Everything is bit exact for every element type:
// a sign of zero or the payload of a NaN is a difference like any other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "liveweight/checkpoint.h"
#include "liveweight/error.h"
#include "liveweight/tensor.h"

namespace liveweight {

enum class DeltaEncoding : uint8_t {
  kXor,        // new ^ old over all of a tensor's bytes, compressed
  kOverwrite,  // positions of changed bytes and the new bytes, compressed
  kIndices,    // positions of changed elements and the new elements, as plain tensors
};

std::string_view to_string(DeltaEncoding encoding);
Result<DeltaEncoding> parse_delta_encoding(std::string_view name);

// What changes as one: an element, or the whole byte that holds parts of elements of fewer than 8 bits.
int64_t cell_bytes(DType dtype);

// The changed cells of one tensor. Immutable; copies share what `owner` keeps alive.
struct TensorDelta {
  std::string name;
  DType dtype = DType::kBF16;
  Shape shape;                          // of the whole tensor
  std::span<const uint32_t> positions;  // of cells in the flat tensor, strictly ascending
  std::span<const std::byte> values;    // cell_bytes(dtype) each, not aligned
  std::shared_ptr<const void> owner;
};

// Positions and values as arrays of their own.
struct ChangedCells {
  std::vector<uint32_t> positions;
  std::vector<std::byte> values;
};

// The delta that owns those arrays.
TensorDelta make_delta(std::string name, DType dtype, Shape shape, ChangedCells cells);

// Every cell of `updated` whose bits are not those of `old`, found by all threads. kWrongDtype and
// kWrongShape where the two are not alike; kUnsupported over 2^32 cells.
Result<TensorDelta> compare_tensors(const std::string& name, const TensorView& old,
                                    const TensorView& updated);

// Puts the new values into `tensor`, the bytes of the whole tensor that `delta` describes.
void patch(const TensorDelta& delta, std::span<std::byte> tensor);

// Version names: those of digits are equal as numbers; the empty one is unknown and equals every other.
bool same_version(std::string_view a, std::string_view b);

// The version that a plain checkpoint was written with: `version` of its index's metadata, else of its
// file's; empty where it has none.
Result<std::string> version_of(const Checkpoint& checkpoint);

// A delta on disk, its headers read and checked. Immutable; any thread may decode.
class DeltaDirectory {
 public:
  // Whether the directory or safetensors file at `path` is a delta rather than a full checkpoint.
  static Result<bool> is_delta(const std::filesystem::path& path);
  static Result<DeltaDirectory> open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  DeltaEncoding encoding() const { return encoding_; }
  const std::string& version() const { return version_; }
  const std::string& base_version() const { return base_version_; }
  const std::vector<std::string>& names() const { return names_; }  // of changed tensors, sorted

  // The changes of a tensor whose current state is `base`. kBadCheckpoint where the payload is not what the
  // format demands; kDigestMismatch where it is not what its own checksum promises (`indices` only).
  Result<TensorDelta> decode(const std::string& name, const TensorView& base) const;
  // Whether `updated`, the patched tensor, has the checksum that the delta promises for it (`xor` and
  // `overwrite`, whose checksums cover whole tensors). kDigestMismatch where it has not.
  Status verify(const std::string& name, std::span<const std::byte> updated) const;
  // kIo where its files are not what was opened any more (Checkpoint::check_unchanged).
  Status check_unchanged() const { return files_.check_unchanged(); }

 private:
  Status read_metadata(const std::map<std::string, std::string>& metadata);
  Status collect_names();
  const std::string* checksum_of(const std::string& name, std::string_view file) const;

  std::filesystem::path path_;
  Checkpoint files_;
  DeltaEncoding encoding_ = DeltaEncoding::kIndices;
  std::string version_, base_version_, checksum_format_;
  std::vector<std::string> names_;
};

struct DeltaWriteOptions {
  DeltaEncoding encoding = DeltaEncoding::kIndices;
  std::string version = "1";
  std::string base_version = "0";
  std::string checksum_format = "xxh3-128";  // or adler32
  int compression_level = 1;                 // zstd's
  uint64_t shard_bytes = uint64_t{1} << 30;  // payload kept in memory before a file is written
};

// Writes a delta directory tensor by tensor. It is made under a temporary name and takes its own in `finish`;
// without that it goes away.
class DeltaWriter {
 public:
  static Result<DeltaWriter> create(const std::filesystem::path& directory, DeltaWriteOptions options);
  DeltaWriter(DeltaWriter&&) noexcept;
  ~DeltaWriter();

  // Compares and adds; returns how many cells changed. A tensor without changes is left out; kDuplicateTensor
  // where it was added before.
  Result<uint64_t> add(std::string_view name, const TensorView& old, const TensorView& updated);
  Result<uint64_t> finish();  // returns the bytes of the directory's files

 private:
  struct State;
  explicit DeltaWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

struct DeltaApplyReport {
  std::string version;
  uint64_t deltas = 0;            // applied
  uint64_t tensors = 0;           // that they changed
  uint64_t changed_elements = 0;  // named by all deltas
  uint64_t bytes = 0;             // of the tensors written
};

// From a trainer's or a checkpoint's names to the model's.
using TensorNames = std::function<Result<std::string>(std::string_view)>;
// Of those whose names are the model's.
Result<std::string> same_name(std::string_view name);

// Pairs of names whose tensors are one, as of ModelDescription::aliases.
using TiedTensors = std::vector<std::pair<std::string, std::string>>;

// Writes to `out` the checkpoint `base` with `deltas` put into it in their order, each on the version that it
// names as its base; a full checkpoint among them, of the same tensors, restarts the chain. `out` appears
// whole or not at all: a new or empty directory, or `base` itself, which is then exchanged for the new one.
// Of it only the weights and their index change, and where the chain is restarted what has the names of the
// newer checkpoint's other files; all else in it stays, with modes and owners, or kIo says what cannot. kBusy
// while another process patches `base`, kUnsupported where that is a mount point.
// What changes one of two tensors that are `tied` changes the other; kBadCheckpoint where they would differ.
// `names`: by which the deltas' tensors are those of the checkpoint, and those that are tied.
Result<DeltaApplyReport> apply_deltas(const std::filesystem::path& base,
                                      std::span<const std::filesystem::path> deltas,
                                      const std::filesystem::path& out, const TiedTensors& tied = {},
                                      const TensorNames& names = same_name);

}  // namespace liveweight
