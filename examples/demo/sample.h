// The bundled sample: its checkpoints, in the order of training, and its held-out problems.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "liveweight/engine.h"
#include "liveweight/tokenizer.h"

namespace liveweight::demo {

struct SampleCheckpoint {
  std::string name;               // "checkpoints/step_00250"
  std::string step;               // "250", or "+3" for the third step of fine-tuning
  double reference_accuracy = 0;  // of its bf16 weights, by transformers
};

struct Problem {
  std::string prompt;
  std::string answer;
};

struct Sample {
  std::filesystem::path directory;
  std::vector<SampleCheckpoint> checkpoints;
  std::vector<Problem> problems;
  std::vector<std::vector<int32_t>> prompts;  // ids, by problem
  std::shared_ptr<const Tokenizer> tokenizer;

  static Result<Sample> read(const std::filesystem::path& directory);

  std::filesystem::path path_of(const SampleCheckpoint& checkpoint) const {
    return directory / checkpoint.name;
  }
  // Whether the text is the problem's answer and ends there.
  bool is_right(size_t problem, const Completion& completion) const;
};

}  // namespace liveweight::demo
