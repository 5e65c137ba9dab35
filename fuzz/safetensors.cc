// A safetensors file: what is not refused holds what its header says, and can be read to its last byte.
#include "fuzz/input.h"
#include "liveweight/checkpoint.h"

namespace liveweight::fuzz {
namespace {

// Tensors follow one another from the header's end to the file's.
void require_whole(const SafetensorsHeader& header, uint64_t file_bytes) {
  uint64_t at = 0;
  for (const SafetensorsEntry& entry : header.tensors) {
    require(entry.begin == at, "a tensor begins where the one before ends");
    const auto bytes = bytes_of(entry.dtype, static_cast<uint64_t>(element_count(entry.shape)));
    require(bytes && *bytes == entry.end - entry.begin, "a tensor's bytes are those of its elements");
    at = entry.end;
  }
  require(header.data_begin + at == file_bytes, "the tensors fill the file");
}

void check(std::string_view file) {
  static const Scratch scratch;
  const auto header = parse_safetensors_header(std::as_bytes(std::span(file)), file.size(), "f.safetensors");
  if (!header) return require_refusal(header.error());
  require_whole(*header, file.size());
  const auto checkpoint = Checkpoint::open_file(scratch.write("f.safetensors", file));
  require(checkpoint && checkpoint->tensors().size() == header->tensors.size(),
          "a file opens where its header is good");
  read_every_byte(*checkpoint);
}

}  // namespace
}  // namespace liveweight::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  liveweight::fuzz::check(liveweight::fuzz::text_of(data, size));
  return 0;
}
