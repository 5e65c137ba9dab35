#include "demo/bad_checkpoints.h"

#include <fmt/format.h>

#include <fstream>
#include <sstream>
#include <system_error>

#include "liveweight/checkpoint.h"

namespace liveweight::demo {
namespace {

constexpr const char* kFile = "model.safetensors";

// The highest bytes of the file's last element, bf16 or fp32, become those of a NaN.
Result<std::string> with_nan(const std::filesystem::path& file, std::string bytes) {
  LW_ASSIGN(const auto opened, SafetensorsFile::open(file));
  const SafetensorsHeader& header = opened->header();
  if (header.tensors.empty())
    return fail(ErrorCode::kBadCheckpoint, fmt::format("{}: no tensors", file.string()));
  bytes.replace(header.data_begin + header.tensors.back().end - 2, 2, "\xc0\x7f");
  return bytes;
}

}  // namespace

Result<std::unique_ptr<BadCheckpoints>> BadCheckpoints::make(const std::filesystem::path& good) {
  LW_ASSIGN(TemporaryFolder folder, TemporaryFolder::make("liveweight-demo"));
  std::unique_ptr<BadCheckpoints> made(new BadCheckpoints(std::move(folder)));
  std::ostringstream bytes;
  bytes << std::ifstream(good / kFile, std::ios::binary).rdbuf();
  LW_ASSIGN(const std::string nan, with_nan(good / kFile, bytes.str()));
  LW_TRY(made->add("a NaN in its last weight", nan));
  LW_TRY(made->add("its file cut off half-way", bytes.str().substr(0, bytes.str().size() / 2)));
  return made;
}

Status BadCheckpoints::add(const std::string& what, const std::string& file_bytes) {
  const std::filesystem::path directory = folder_.path() / fmt::format("bad_{}", all_.size() + 1);
  std::error_code error;
  std::filesystem::create_directory(directory, error);
  LW_TRY(write_text_file(directory / kFile, file_bytes));
  all_.push_back({what, directory});
  return {};
}

}  // namespace liveweight::demo
