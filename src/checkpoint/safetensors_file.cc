#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "checkpoint/file.h"
#include "liveweight/checkpoint.h"

namespace liveweight {

SafetensorsFile::Identity SafetensorsFile::identity_of(const void* raw) {
  const auto& status = *static_cast<const struct stat*>(raw);
  return {status.st_dev, status.st_ino, static_cast<uint64_t>(status.st_size), status.st_mtim.tv_sec,
          status.st_mtim.tv_nsec};
}

Result<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::open(const std::filesystem::path& path) {
  std::shared_ptr<SafetensorsFile> file(new SafetensorsFile);
  file->path_ = path.string();
  LW_ASSIGN(const FileDescriptor descriptor, open_regular_file(path));
  struct stat status {};
  if (fstat(descriptor.get(), &status) != 0) return io_error(path, "stat");
  file->identity_ = identity_of(&status);
  file->bytes_ = file->identity_.bytes;
  if (file->bytes_ > 0) {
    void* data = mmap(nullptr, file->bytes_, PROT_READ, MAP_SHARED, descriptor.get(), 0);
    if (data == MAP_FAILED) return io_error(path, "map");
    file->data_ = static_cast<const std::byte*>(data);
  }
  LW_ASSIGN(file->header_, parse_safetensors_header({file->data_, file->bytes_}, file->bytes_, file->path_));
  return file;
}

SafetensorsFile::~SafetensorsFile() {
  if (data_) munmap(const_cast<std::byte*>(data_), bytes_);
}

TensorView SafetensorsFile::view(const SafetensorsEntry& entry) const {
  return {entry.dtype, entry.shape, data_ + header_.data_begin + entry.begin, entry.end - entry.begin};
}

Status SafetensorsFile::check_unchanged() const {
  struct stat status {};
  if (stat(path_.c_str(), &status) != 0) return io_error(path_, "stat");
  if (identity_of(&status) == identity_) return {};
  return fail(ErrorCode::kIo, fmt::format("{}: the file changed while it was being read", path_), {path_});
}

}  // namespace liveweight
