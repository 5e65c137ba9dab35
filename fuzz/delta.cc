// Delta files on a small checkpoint: one that is right gives just the tensors that it was made for, whole or
// by `apply_deltas`; any other is refused, or at least changes only what is there.
#include <fuzzer/FuzzedDataProvider.h>

#include <optional>

#include "checkpoint/checksum.h"
#include "checkpoint/zstd_blob.h"
#include "fuzz/input.h"
#include "fuzz/safetensors_file.h"
#include "liveweight/delta.h"

namespace liveweight::fuzz {
namespace {

const std::vector<FileTensor>& base_tensors() {
  static const std::vector<FileTensor> all = {{"f", DType::kF32, {5}, std::string(20, '\1')},
                                              {"i", DType::kI64, {}, std::string(8, '\2')},
                                              {"q", DType::kF4, {4, 4}, std::string(8, '\3')},
                                              {"w", DType::kBF16, {4, 6}, std::string(48, '\4')}};
  return all;
}

// What a tensor is afterwards; nothing where its delta is wrong.
using Outcome = std::optional<std::string>;

struct Change {
  std::vector<FileTensor> tensors;  // of the delta's file
  std::string name;
  Outcome outcome;
};

std::span<const std::byte> bytes_in(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// A zstd frame of `plain`, or now and then that itself.
FileTensor blob(const std::string& name, const std::string& plain, bool raw) {
  std::string bytes = plain;
  if (!raw) {
    const auto frame = zstd_compress(bytes_in(plain), 1).value();
    bytes.assign(reinterpret_cast<const char*>(frame.data()), frame.size());
  }
  const auto size = static_cast<int64_t>(bytes.size());
  return {name, DType::kU8, {size}, std::move(bytes)};
}

Change make_xor(const FileTensor& base, FuzzedDataProvider& input) {
  std::string plain = input.ConsumeRandomLengthString(base.bytes.size() + 8);
  if (input.ConsumeBool()) plain.resize(base.bytes.size());
  const bool raw = input.ConsumeIntegral<uint8_t>() == 255;
  Outcome outcome;
  if (!raw && plain.size() == base.bytes.size()) {
    outcome = base.bytes;
    for (size_t i = 0; i < plain.size(); ++i) (*outcome)[i] = static_cast<char>(base.bytes[i] ^ plain[i]);
  }
  return {{blob(base.name, plain, raw)}, base.name, outcome};
}

void append(std::string& bytes, uint64_t value, size_t size) {
  bytes.append(reinterpret_cast<const char*>(&value), size);
}

// `values` at `positions`, where those are in range and none comes twice.
Outcome put_cells(const std::string& base, const std::vector<int64_t>& positions, const std::string& values,
                  size_t cell) {
  std::vector<bool> seen(base.size() / cell);
  std::string out = base;
  for (size_t i = 0; i < positions.size(); ++i) {
    const auto at = static_cast<size_t>(positions[i]);
    if (at >= seen.size() || seen[at]) return std::nullopt;
    seen[at] = true;
    out.replace(at * cell, cell, values, i * cell, cell);
  }
  return out;
}

std::vector<int64_t> make_positions(FuzzedDataProvider& input, size_t count) {
  std::vector<int64_t> positions;
  for (size_t i = 0; i < count; ++i) positions.push_back(input.ConsumeIntegral<int8_t>());
  if (input.ConsumeBool()) std::sort(positions.begin(), positions.end());
  return positions;
}

Change make_overwrite(const FileTensor& base, FuzzedDataProvider& input) {
  const auto count = input.ConsumeIntegralInRange<uint32_t>(0, 12);
  const std::vector<int64_t> positions = make_positions(input, count);
  std::string values = input.ConsumeBytesAsString(count), plain;
  values.resize(count);
  const uint32_t promised =
      input.ConsumeIntegral<uint8_t>() == 255 ? input.ConsumeIntegral<uint32_t>() : count;
  append(plain, promised, sizeof promised);
  for (const int64_t position : positions) append(plain, static_cast<uint64_t>(position), sizeof(uint32_t));
  plain += values;
  const bool raw = input.ConsumeIntegral<uint8_t>() == 255;
  const bool right = !raw && promised == count;
  return {{blob(base.name, plain, raw)},
          base.name,
          right ? put_cells(base.bytes, positions, values, 1) : std::nullopt};
}

Change make_indices(const FileTensor& base, FuzzedDataProvider& input) {
  constexpr DType kTypes[] = {DType::kU32, DType::kI8,  DType::kI16, DType::kI32,
                              DType::kI64, DType::kU64, DType::kF32};
  const DType type = input.PickValueInArray(kTypes);
  const auto cell = static_cast<size_t>(cell_bytes(base.dtype));
  const auto count = input.ConsumeIntegralInRange<int64_t>(0, 12);
  const std::vector<int64_t> positions = make_positions(input, static_cast<size_t>(count));
  std::string indices, values = input.ConsumeBytesAsString(static_cast<size_t>(count) * cell);
  values.resize(static_cast<size_t>(count) * cell);
  const bool pairs = base.shape.size() == 2 && input.ConsumeBool();
  for (const int64_t position : positions) {
    const int64_t cols = pairs ? base.shape[1] : 1;
    if (pairs)
      append(indices, static_cast<uint64_t>(position / cols), static_cast<size_t>(bits_of(type)) / 8);
    append(indices, static_cast<uint64_t>(pairs ? position % cols : position),
           static_cast<size_t>(bits_of(type)) / 8);
  }
  const bool right = type != DType::kF32;
  return {{{base.name + ".indices", type, pairs ? Shape{count, 2} : Shape{count}, indices},
           {base.name + ".values", cell == 1 ? DType::kU8 : base.dtype, {count}, values}},
          base.name,
          right ? put_cells(base.bytes, positions, values, cell) : std::nullopt};
}

TensorView view_of(const FileTensor& tensor) {
  return {tensor.dtype, tensor.shape, reinterpret_cast<const std::byte*>(tensor.bytes.data()),
          tensor.bytes.size()};
}

// What the library makes of one tensor of the delta; nothing where it refuses it.
Outcome patched(const DeltaDirectory& delta, const FileTensor& base) {
  const auto decoded = delta.decode(base.name, view_of(base));
  if (!decoded) {
    require_refusal(decoded.error());
    return std::nullopt;
  }
  const auto cell = static_cast<size_t>(cell_bytes(base.dtype));
  require(decoded->values.size() == decoded->positions.size() * cell, "each position has its value");
  for (size_t i = 0; i < decoded->positions.size(); ++i) {
    require(decoded->positions[i] < base.bytes.size() / cell, "positions are in the tensor");
    require(i == 0 || decoded->positions[i - 1] < decoded->positions[i], "positions ascend");
  }
  std::string bytes = base.bytes;
  patch(*decoded, std::as_writable_bytes(std::span(bytes)));
  if (const Status status = delta.verify(base.name, bytes_in(bytes)); !status) {
    require_refusal(status.error());
    return std::nullopt;
  }
  return bytes;
}

// Any bytes at all.
void check_file(const std::filesystem::path& file) {
  const auto delta = DeltaDirectory::open(file);
  if (!delta) return require_refusal(delta.error());
  for (const FileTensor& base : base_tensors()) (void)patched(*delta, base);
}

void check_apply(const Scratch& scratch, const std::filesystem::path& file,
                 const std::vector<Change>& changes) {
  const auto out = scratch.path() / "out";
  std::filesystem::remove_all(out);
  const auto report = apply_deltas(scratch.path() / "base", std::span(&file, 1), out);
  const bool right = std::all_of(changes.begin(), changes.end(),
                                 [](const Change& change) { return change.outcome.has_value(); });
  require(report.has_value() == right, report ? "a wrong delta is refused" : report.error().message);
  require(std::filesystem::exists(out) == right, "the result appears whole or not at all");
  if (!right) return require_refusal(report.error());
  const auto checkpoint = Checkpoint::open(out);
  require(checkpoint.has_value(), "what was applied can be opened");
  for (const FileTensor& base : base_tensors()) {
    std::string expected = base.bytes;
    for (const Change& change : changes) expected = change.name == base.name ? *change.outcome : expected;
    const TensorView& view = checkpoint->find(base.name)->view;
    require(view.bytes == expected.size() && std::memcmp(view.data, expected.data(), view.bytes) == 0,
            "what was applied is what the delta says");
  }
}

void check(const uint8_t* data, size_t size) {
  static const Scratch scratch;
  static const bool written = [] {
    std::filesystem::create_directories(scratch.path() / "base");
    scratch.write("base/model.safetensors", safetensors_file(base_tensors(), {}));
    return true;
  }();
  require(written, "the base is there");
  FuzzedDataProvider input(data, size);
  const auto kind = input.ConsumeIntegralInRange<int>(0, 3);
  if (kind == 3) return check_file(scratch.write("any.safetensors", input.ConsumeRemainingBytesAsString()));
  const auto encoding = static_cast<DeltaEncoding>(kind);
  const std::string checksum = input.ConsumeBool() ? "xxh3-128" : "adler32";
  std::map<std::string, std::string> metadata = {{"version", "1"},
                                                 {"base_version", "0"},
                                                 {"compression_format", "zstd"},
                                                 {"checksum_format", checksum},
                                                 {"delta_encoding", std::string(to_string(encoding))}};
  std::vector<Change> changes;
  std::vector<FileTensor> tensors;
  for (const FileTensor& base : base_tensors()) {
    if (!input.ConsumeBool()) continue;
    changes.push_back(encoding == DeltaEncoding::kXor         ? make_xor(base, input)
                      : encoding == DeltaEncoding::kOverwrite ? make_overwrite(base, input)
                                                              : make_indices(base, input));
    Change& change = changes.back();
    tensors.insert(tensors.end(), change.tensors.begin(), change.tensors.end());
    if (encoding == DeltaEncoding::kIndices) continue;
    const std::string after = change.outcome.value_or("");
    const std::span<const std::byte> whole = bytes_in(after);
    metadata[base.name] = checksum_hex(checksum, std::span(&whole, 1));
    if (input.ConsumeIntegral<uint8_t>() < 250) continue;
    metadata[base.name] += "0";
    change.outcome.reset();
  }
  const auto file = scratch.write("delta.safetensors", safetensors_file(tensors, metadata));
  const auto delta = DeltaDirectory::open(file);
  require(delta && delta->names().size() == changes.size(), "a delta's file opens");
  for (const Change& change : changes) {
    const auto base = std::find_if(base_tensors().begin(), base_tensors().end(),
                                   [&](const FileTensor& tensor) { return tensor.name == change.name; });
    require(patched(*delta, *base) == change.outcome, "a delta gives what it was made for, or is refused");
  }
  if (input.ConsumeBool()) check_apply(scratch, file, changes);
}

}  // namespace
}  // namespace liveweight::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  liveweight::fuzz::check(data, size);
  return 0;
}
