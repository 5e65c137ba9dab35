#include "checkpoint/mirror_sums.h"

#include <fmt/format.h>

#include <utility>

#include "checkpoint/write.h"

namespace liveweight {

Status MirrorSums::write(const std::filesystem::path& path, uint64_t sequence,
                         std::span<const uint64_t> sums) {
  ReplacementFile file(path);
  LW_TRY(file.create());
  LW_TRY(file.append(&sequence, sizeof sequence));
  LW_TRY(file.append(sums.data(), sums.size_bytes()));
  return file.finish();
}

Result<MirrorSums> MirrorSums::open(const std::filesystem::path& path, uint64_t parts) {
  MirrorSums sums;
  LW_ASSIGN(sums.file_, Mapping::open(path, Mapping::Access::kShared));
  if (sums.file_.bytes().size() == (parts + 1) * sizeof(uint64_t)) return sums;
  return damaged_mirror(
      ErrorCode::kBadCheckpoint, path,
      fmt::format("expected the checksums of {} parts, got {} bytes", parts, sums.file_.bytes().size()));
}

tl::unexpected<Error> damaged_mirror(ErrorCode code, const std::filesystem::path& file, std::string_view what,
                                     std::string name) {
  return fail(code,
              fmt::format("{}: the mirror is damaged: {}; remove {}, and it is made anew from a checkpoint",
                          file.string(), what, file.parent_path().parent_path().string()),
              {name.empty() ? file.string() : std::move(name)});
}

}  // namespace liveweight
