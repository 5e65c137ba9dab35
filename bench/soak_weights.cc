#include "bench/soak_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>

namespace liveweight::bench {

SoakWeights::SoakWeights(const Checkpoint& checkpoint) {
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    Tensor& copy = tensors_.emplace_back();
    copy.name = tensor.name;
    copy.view = tensor.view;
    copy.bytes.assign(tensor.view.data, tensor.view.data + tensor.view.bytes);
  }
}

// The byte that holds the mantissa's upper bits but not the exponent's: little-endian.
void SoakWeights::Tensor::change(size_t element, uint64_t bits) {
  const uint64_t three = bits % 7 + 1;
  switch (view.dtype) {
    case DType::kF16:
      bytes[element * 2] ^= static_cast<std::byte>(three << 5);
      return;
    case DType::kF32:
      bytes[element * 4 + 2] ^= static_cast<std::byte>(three);
      return;
    default:
      bytes[element * 2] ^= static_cast<std::byte>(three);
  }
}

SoakWeights::Tensor& SoakWeights::find(const std::string& name) {
  return *std::find_if(tensors_.begin(), tensors_.end(),
                       [&](const Tensor& tensor) { return tensor.name == name; });
}

void SoakWeights::change_all(const std::string& name, Random& random) {
  Tensor& tensor = find(name);
  for (size_t i = 0; i < tensor.elements(); ++i) tensor.change(i, random());
}

void SoakWeights::change_some(const std::string& name, Random& random) {
  Tensor& tensor = find(name);
  for (size_t left = tensor.elements() / 100 + 1; left > 0; --left) {
    tensor.change(draw_below(random, tensor.elements()), random());
  }
}

Status SoakWeights::write(const std::filesystem::path& model, const std::filesystem::path& directory) const {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  for (const char* file : {"config.json", "generation_config.json"}) {
    if (!error && std::filesystem::exists(model / file)) {
      std::filesystem::copy_file(model / file, directory / file, error);
    }
  }
  if (error) {
    return fail(ErrorCode::kIo, fmt::format("{}: cannot write: {}", directory.string(), error.message()),
                {directory.string()});
  }
  std::vector<std::pair<std::string, TensorView>> views;
  for (const Tensor& tensor : tensors_) {
    views.emplace_back(tensor.name, tensor.view).second.data = tensor.bytes.data();
  }
  return write_safetensors(directory / "model.safetensors", views);
}

}  // namespace liveweight::bench
