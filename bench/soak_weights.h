// A checkpoint's weights in memory, to be changed and written.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bench/soak_versions.h"
#include "liveweight/checkpoint.h"

namespace liveweight::bench {

class SoakWeights {
 public:
  explicit SoakWeights(const Checkpoint& checkpoint);

  // Moves elements by some of their mantissa's bits, so that what is finite stays finite: all of a tensor's,
  // or one of a hundred, at random places.
  void change_all(const std::string& name, Random& random);
  void change_some(const std::string& name, Random& random);

  // With the model's configuration, from `model`.
  Status write(const std::filesystem::path& model, const std::filesystem::path& directory) const;

 private:
  struct Tensor {
    std::string name;
    TensorView view;  // of the checkpoint
    std::vector<std::byte> bytes;
    void change(size_t element, uint64_t bits);
    size_t elements() const { return bytes.size() / static_cast<size_t>(bits_of(view.dtype) / 8); }
  };
  Tensor& find(const std::string& name);

  std::vector<Tensor> tensors_;
};

}  // namespace liveweight::bench
