#include "checkpoint/mirror_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <system_error>

#include "base/threads.h"
#include "checkpoint/mirror_sums.h"
#include "checkpoint/part_sums.h"
#include "checkpoint/write.h"

namespace liveweight {
namespace {

constexpr const char* kCurrent = "CURRENT";
constexpr uint64_t kSampledParts = 1024;

bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

uint64_t number_of(const std::string& text) {
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace

Result<FileLock> FileLock::take(const std::filesystem::path& path, Kind kind) {
  LW_ASSIGN(FileDescriptor file, open_file(path, O_RDWR | O_CREAT));
  while (flock(file.get(), kind == Kind::kShared ? LOCK_SH : LOCK_EX) != 0) {
    if (errno != EINTR) return io_error(path, "lock");
  }
  return FileLock(std::move(file));
}

Status MirrorFiles::create() const {
  std::error_code error;
  std::filesystem::create_directories(directory_, error);
  if (!error) return {};
  return fail(ErrorCode::kIo,
              fmt::format("{}: cannot create the directory: {}", directory_.string(), error.message()),
              {directory_.string()});
}

Result<std::string> MirrorFiles::current() const {
  std::error_code error;
  if (!std::filesystem::exists(directory_ / kCurrent, error)) {
    // What is not ours is not to be written over.
    const bool ours = std::filesystem::is_empty(directory_, error) || std::filesystem::exists(lock(), error);
    if (ours) return std::string();
    return fail(ErrorCode::kIo,
                fmt::format("{}: expected a mirror or an empty directory", directory_.string()),
                {directory_.string()});
  }
  LW_ASSIGN(std::string name, read_text_file(directory_ / kCurrent));
  while (!name.empty() && name.back() == '\n') name.pop_back();
  if (is_number(name)) return name;
  return fail(
      ErrorCode::kBadCheckpoint,
      fmt::format("{}: expected the name of a generation, got {:?}", (directory_ / kCurrent).string(), name),
      {directory_.string()});
}

Status MirrorFiles::write(const Checkpoint& checkpoint, const TensorNames& names, uint64_t sequence,
                          const std::string& version) {
  LW_ASSIGN(const std::string current_name, current());
  const std::string next = fmt::format("{}", number_of(current_name) + 1);
  ReplacementDirectory generation(directory_ / next);
  LW_TRY(generation.create());
  LW_TRY(write_generation(generation.path(), checkpoint, names, sequence, version));
  std::error_code ignored;
  std::filesystem::remove_all(directory_ / next, ignored);
  LW_TRY(generation.finish());
  LW_TRY(write_text_file(directory_ / kCurrent, next + "\n"));
  generation_ = next;
  remove_others();
  return {};
}

Status MirrorFiles::write_generation(const std::filesystem::path& path, const Checkpoint& checkpoint,
                                     const TensorNames& names, uint64_t sequence,
                                     const std::string& version) const {
  std::vector<std::pair<std::string, TensorView>> tensors;
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    LW_ASSIGN(std::string name, names(tensor.name));
    tensors.emplace_back(std::move(name), tensor.view);
  }
  LW_TRY(write_safetensors(path / "model.safetensors", tensors));
  LW_TRY(checkpoint.check_unchanged());
  LW_ASSIGN(const Checkpoint written, Checkpoint::open(path));
  LW_ASSIGN(const MirrorContent content, MirrorContent::map(written, same_name, Mapping::Access::kRead));
  const std::vector<uint64_t> sums = sums_of(content);
  LW_TRY(MirrorSums::write(path / "sums", sequence, sums));
  const uint64_t sample = sample_of(content.parts, [&](uint64_t part) { return sums[part]; });
  LW_TRY(begin_mirror_log(path / "log", sequence, version, {version, sample}));
  return {};
}

void MirrorFiles::remove_others() const {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(directory_, ignored)) {
    const std::string name = entry.path().filename().string();
    const bool generation = is_number(name.substr(0, name.find('.')));
    if (generation && name != generation_) std::filesystem::remove_all(entry.path(), ignored);
  }
}

std::vector<uint64_t> sums_of(const MirrorContent& content) {
  std::vector<uint64_t> sums(content.parts);
  ThreadPool::shared().parallel_for(static_cast<int64_t>(content.parts), [&](int64_t i) {
    sums[static_cast<uint64_t>(i)] = content.sum_of(static_cast<uint64_t>(i));
  });
  return sums;
}

uint64_t sample_of(uint64_t parts, const std::function<uint64_t(uint64_t)>& sum_of) {
  const uint64_t taken = std::min(parts, kSampledParts);
  uint64_t sample = parts;
  for (uint64_t i = 0; i < taken; ++i) sample += sum_of(i * parts / taken);
  return sample;
}

std::string boot_of_machine() {
  // The file says that it is empty, so it is read to its end.
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string boot;
  std::getline(file, boot);
  return boot.empty() ? "unknown" : boot;
}

}  // namespace liveweight
