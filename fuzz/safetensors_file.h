// The bytes of a safetensors file, from tensors that fuzzers make up.
#pragma once

#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "liveweight/tensor.h"

namespace liveweight::fuzz {

struct FileTensor {
  std::string name;
  DType dtype;
  Shape shape;
  std::string bytes;
};

inline std::string safetensors_file(std::span<const FileTensor> tensors,
                                    const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header;
  header["__metadata__"] = metadata;
  std::string data;
  for (const FileTensor& tensor : tensors) {
    header[tensor.name] = {{"dtype", to_string(tensor.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {data.size(), data.size() + tensor.bytes.size()}}};
    data += tensor.bytes;
  }
  std::string text = header.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string file(sizeof(uint64_t), '\0');
  const uint64_t length = text.size();
  std::memcpy(file.data(), &length, sizeof length);
  return file + text + data;
}

}  // namespace liveweight::fuzz
