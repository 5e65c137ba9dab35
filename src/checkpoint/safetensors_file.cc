#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include "checkpoint/file.h"
#include "checkpoint/mapping.h"
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
  LW_ASSIGN(Mapping mapping,
            Mapping::create(descriptor.get(), file->identity_.bytes, file->path_, Mapping::Access::kRead));
  file->mapping_ = std::make_unique<Mapping>(std::move(mapping));
  const Mapping& mapped = *file->mapping_;
  LW_ASSIGN(file->header_, parse_safetensors_header(mapped.bytes(), mapped.bytes().size(), file->path_));
  LW_TRY(file->check_unchanged());
  return file;
}

SafetensorsFile::~SafetensorsFile() = default;

TensorView SafetensorsFile::view(const SafetensorsEntry& entry) const {
  return {entry.dtype, entry.shape, mapping_->bytes().data() + header_.data_begin + entry.begin,
          entry.end - entry.begin};
}

Status SafetensorsFile::check_unchanged() const {
  struct stat status {};
  if (stat(path_.c_str(), &status) != 0) return io_error(path_, "stat");
  if (identity_of(&status) == identity_) return mapping_->check_whole();
  return fail(ErrorCode::kIo, fmt::format("{}: the file changed while it was being read", path_), {path_});
}

}  // namespace liveweight
