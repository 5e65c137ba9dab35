#include "liveweight/mirror.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstring>
#include <optional>
#include <unordered_map>

#include "checkpoint/file.h"

namespace liveweight {
namespace {

// A file's bytes, writable without reaching the file.
class PrivateMapping {
 public:
  static Result<PrivateMapping> open(const std::filesystem::path& path) {
    LW_ASSIGN(const FileDescriptor file, open_regular_file(path));
    struct stat facts {};
    if (fstat(file.get(), &facts) != 0) return io_error(path, "read");
    PrivateMapping mapping;
    mapping.bytes_ = static_cast<uint64_t>(facts.st_size);
    void* data = mmap(nullptr, mapping.bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE, file.get(), 0);
    if (data == MAP_FAILED) return io_error(path, "map");
    mapping.data_ = static_cast<std::byte*>(data);
    return mapping;
  }
  PrivateMapping(PrivateMapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(other.bytes_) {}
  PrivateMapping& operator=(PrivateMapping&&) = delete;
  ~PrivateMapping() {
    if (data_) munmap(data_, bytes_);
  }
  std::byte* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }

 private:
  PrivateMapping() = default;
  std::byte* data_ = nullptr;
  uint64_t bytes_ = 0;
};

struct MirrorTensor {
  DType dtype;
  Shape shape;
  std::byte* data;
  uint64_t bytes;
};

// The tensors of one checkpoint.
struct Content {
  std::vector<PrivateMapping> files;
  std::unordered_map<std::string, MirrorTensor> tensors;

  static Result<Content> map(const Checkpoint& checkpoint, const TensorNames& names) {
    Content content;
    for (const std::string& file : checkpoint.file_names()) {
      LW_ASSIGN(PrivateMapping mapping, PrivateMapping::open(checkpoint.directory() / file));
      LW_ASSIGN(const SafetensorsHeader header,
                parse_safetensors_header({mapping.data(), mapping.bytes()}, mapping.bytes(), file));
      for (const SafetensorsEntry& entry : header.tensors) {
        if (!checkpoint.find(entry.name)) continue;
        LW_ASSIGN(std::string name, names(entry.name));
        content.tensors.emplace(
            std::move(name),
            MirrorTensor{entry.dtype, entry.shape, mapping.data() + header.data_begin + entry.begin,
                         entry.end - entry.begin});
      }
      content.files.push_back(std::move(mapping));
    }
    LW_TRY(checkpoint.check_unchanged());
    return content;
  }
};

// What `delta` overwrites.
TensorDelta before(const TensorDelta& delta, const MirrorTensor& tensor) {
  const auto cell = static_cast<size_t>(cell_bytes(delta.dtype));
  auto values = std::make_shared<std::vector<std::byte>>(delta.values.size());
  for (size_t i = 0; i < delta.positions.size(); ++i) {
    std::memcpy(values->data() + i * cell, tensor.data + delta.positions[i] * cell, cell);
  }
  struct Owner {
    std::shared_ptr<const void> positions;
    std::shared_ptr<const std::vector<std::byte>> values;
  };
  TensorDelta old = delta;
  old.values = *values;
  old.owner = std::make_shared<Owner>(Owner{delta.owner, values});
  return old;
}

}  // namespace

struct Mirror::State {
  Content content;
  std::vector<TensorDelta> pending;                  // recorded, not yet in the bytes
  std::optional<std::vector<TensorDelta>> previous;  // what the last settled record overwrote

  void put(const std::vector<TensorDelta>& deltas) {
    for (const TensorDelta& delta : deltas) {
      MirrorTensor& tensor = content.tensors.at(delta.name);
      patch(delta, {tensor.data, tensor.bytes});
    }
  }
};

Mirror::Mirror(std::unique_ptr<State> state) : state_(std::move(state)) {}
Mirror::~Mirror() = default;

Result<std::shared_ptr<Mirror>> Mirror::in_memory(const Checkpoint& checkpoint, const TensorNames& names) {
  auto mirror = std::shared_ptr<Mirror>(new Mirror(std::make_unique<State>()));
  LW_TRY(mirror->replace(checkpoint, names));
  return mirror;
}

Status Mirror::replace(const Checkpoint& checkpoint, const TensorNames& names) {
  LW_ASSIGN(Content content, Content::map(checkpoint, names));
  state_->pending.clear();
  state_->previous.reset();
  state_->content = std::move(content);
  return {};
}

TensorView Mirror::find(const std::string& name) const {
  const auto found = state_->content.tensors.find(name);
  if (found == state_->content.tensors.end()) return {};
  const MirrorTensor& tensor = found->second;
  return {tensor.dtype, tensor.shape, tensor.data, tensor.bytes};
}

Status Mirror::record(std::vector<TensorDelta> deltas) {
  for (const TensorDelta& delta : deltas) {
    const auto found = state_->content.tensors.find(delta.name);
    if (found == state_->content.tensors.end()) {
      return fail(ErrorCode::kUnknownTensor, fmt::format("tensor {} is not in the mirror", delta.name),
                  {delta.name});
    }
    const MirrorTensor& tensor = found->second;
    if (tensor.dtype == delta.dtype && tensor.shape == delta.shape) continue;
    return fail(tensor.dtype == delta.dtype ? ErrorCode::kWrongShape : ErrorCode::kWrongDtype,
                fmt::format("tensor {}: expected {} {} as in the mirror, got {} {}", delta.name,
                            to_string(tensor.dtype), to_string(tensor.shape), to_string(delta.dtype),
                            to_string(delta.shape)),
                {delta.name});
  }
  LW_TRY(settle());
  state_->pending = std::move(deltas);
  state_->previous.reset();
  if (state_->pending.empty()) state_->previous.emplace();
  return {};
}

Status Mirror::settle() {
  if (state_->pending.empty()) return {};
  std::vector<TensorDelta> previous;
  for (const TensorDelta& delta : state_->pending) {
    previous.push_back(before(delta, state_->content.tensors.at(delta.name)));
  }
  state_->put(state_->pending);
  state_->pending.clear();
  state_->previous = std::move(previous);
  return {};
}

Status Mirror::revert() {
  if (!state_->pending.empty()) {
    state_->pending.clear();
    return {};
  }
  if (!state_->previous) {
    return fail(ErrorCode::kFailedState, "the mirror does not have the version before its own");
  }
  state_->put(*state_->previous);
  state_->previous.reset();
  return {};
}

}  // namespace liveweight
