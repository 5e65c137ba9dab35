// Real models from the reference data, for tests.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "liveweight/engine.h"
#include "liveweight/load.h"

namespace liveweight {

inline const std::filesystem::path kModels =
    std::filesystem::path(LIVEWEIGHT_SOURCE_DIR) / "../shared/models";

class LiveTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kModels))
      GTEST_SKIP() << kModels << " is not there: real models are not tested";
  }

  static std::unique_ptr<LiveModel> load(const std::string& name, const char* scheme = nullptr,
                                         CommitMode mode = CommitMode::kFlip) {
    auto directory = open_model_directory(kModels / name);
    if (!directory) throw std::runtime_error(directory.error().message);
    std::optional<QuantizationConfig> asked;
    if (scheme) asked = QuantizationConfig::uniform(parse_scheme(scheme).value());
    LoadOptions options;
    auto quantization = choose_quantization(*directory, asked);
    if (!quantization) throw std::runtime_error(quantization.error().message);
    options.quantization = *quantization;
    options.mode = mode;
    options.label = name;
    auto model = load_model(*directory, options);
    if (!model) throw std::runtime_error(model.error().message);
    return std::move(*model);
  }

  static std::unique_ptr<Engine> engine_of(const LiveModel& model, const EngineOptions& options = {}) {
    auto engine = Engine::create(model, options);
    if (!engine) throw std::runtime_error(engine.error().message);
    return std::move(*engine);
  }

  static Result<UpdateReport> reload_from(LiveModel& model, const std::string& name) {
    auto checkpoint = Checkpoint::open(kModels / name);
    if (!checkpoint) return tl::unexpected(checkpoint.error());
    UpdateOptions options;
    options.label = name;
    return reload(model, *checkpoint, {}, options);
  }

  // A tensor of a file of expected values.
  template <typename T>
  static std::vector<T> expected(const std::string& file, const std::string& tensor) {
    const auto opened = SafetensorsFile::open(kModels / file).value();
    for (const SafetensorsEntry& entry : opened->header().tensors) {
      if (entry.name != tensor) continue;
      const TensorView view = opened->view(entry);
      std::vector<T> values(view.bytes / sizeof(T));
      std::memcpy(values.data(), view.data, view.bytes);
      return values;
    }
    throw std::runtime_error(file + " has no " + tensor);
  }

  static Request greedy(std::vector<int32_t> prompt, int64_t tokens) {
    Request request;
    request.prompt = std::move(prompt);
    request.sampling.max_new_tokens = tokens;
    request.sampling.ignore_eos = true;
    return request;
  }

  static std::vector<float> all_logits(Engine& engine, const std::vector<int32_t>& tokens) {
    std::vector<float> all;
    const Status status = engine.forward_all(tokens, [&](int64_t, std::span<const float> logits) {
      all.insert(all.end(), logits.begin(), logits.end());
    });
    EXPECT_TRUE(status) << status.error().message;
    return all;
  }
};

}  // namespace liveweight
