// What all fuzzers share. Each is one function, which libFuzzer calls with one input after another; whatever
// it finds ends the process: a crash, undefined behaviour, a leak, an exception, a hang, too much memory, or
// a `require` that does not hold.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>

#include "base/temporary_folder.h"
#include "liveweight/checkpoint.h"
#include "liveweight/error.h"

namespace liveweight::fuzz {

inline void require(bool holds, std::string_view what) {
  if (holds) return;
  fmt::print(stderr, "does not hold: {}\n", what);
  std::abort();
}

// A refusal says what is wrong, and is never the library's own fault.
inline void require_refusal(const Error& error) {
  require(error.code != ErrorCode::kInternal, error.message);
  require(!error.message.empty(), "an error says what is wrong");
}

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// A folder of this process for what is read from disk only. Where the process is killed it stays behind, in
// the folder that fuzz/run empties.
class Scratch {
 public:
  const std::filesystem::path& path() const { return folder_.path(); }
  std::filesystem::path write(std::string_view name, std::string_view content) const {
    const std::filesystem::path file = path() / name;
    std::ofstream(file, std::ios::binary | std::ios::trunc)
        .write(content.data(), static_cast<std::streamsize>(content.size()));
    return file;
  }

 private:
  TemporaryFolder folder_ = TemporaryFolder::make("liveweight-fuzz").value();
};

// Every byte of every tensor is the file's.
inline void read_every_byte(const Checkpoint& checkpoint) {
  unsigned sum = 0;
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    for (uint64_t i = 0; i < tensor.view.bytes; ++i) sum += static_cast<unsigned>(tensor.view.data[i]);
    require(checkpoint.find(tensor.name) == &tensor, "a tensor is found by its name");
  }
  [[maybe_unused]] const volatile unsigned read = sum;
  require(checkpoint.check_unchanged().has_value(), "nothing beyond the files was read");
}

}  // namespace liveweight::fuzz
