#include "demo/sample.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "liveweight/checkpoint.h"

namespace liveweight::demo {
namespace {

using Json = nlohmann::json;

Result<Json> read_json(const std::filesystem::path& file) {
  LW_ASSIGN(const std::string text, read_text_file(file));
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_discarded()) return json;
  return fail(ErrorCode::kInvalidArgument, fmt::format("{}: expected JSON", file.string()), {file.string()});
}

tl::unexpected<Error> wrong(const std::filesystem::path& file, const char* expected) {
  return fail(ErrorCode::kInvalidArgument, fmt::format("{}: expected {}", file.string(), expected),
              {file.string()});
}

Status add_checkpoints(const std::filesystem::path& file, const Json& list, const char* prefix,
                       Sample& sample) {
  constexpr const char* kExpected = "lists of {directory, step, accuracy}: checkpoints and finetune";
  if (!list.is_array()) return wrong(file, kExpected);
  for (const Json& entry : list) {
    const bool fine = entry.is_object() && entry.contains("directory") && entry["directory"].is_string() &&
                      entry.contains("step") && entry["step"].is_number_integer() &&
                      entry.contains("accuracy") && entry["accuracy"].is_number();
    if (!fine) return wrong(file, kExpected);
    sample.checkpoints.push_back(
        {entry["directory"], fmt::format("{}{}", prefix, entry["step"].get<int64_t>()), entry["accuracy"]});
  }
  return {};
}

Status add_problems(const std::filesystem::path& file, const Json& list, Sample& sample) {
  constexpr const char* kExpected = "a list of {prompt, answer}, texts";
  if (!list.is_array() || list.empty()) return wrong(file, kExpected);
  for (const Json& entry : list) {
    const bool fine = entry.is_object() && entry.contains("prompt") && entry["prompt"].is_string() &&
                      entry.contains("answer") && entry["answer"].is_string();
    if (!fine) return wrong(file, kExpected);
    sample.problems.push_back({entry["prompt"], entry["answer"]});
    LW_ASSIGN(sample.prompts.emplace_back(), sample.tokenizer->encode(sample.problems.back().prompt));
  }
  return {};
}

}  // namespace

Result<Sample> Sample::read(const std::filesystem::path& directory) {
  Sample sample;
  sample.directory = directory;
  const auto index = directory / "sample.json", test = directory / "test.json";
  LW_ASSIGN(const Json facts, read_json(index));
  if (!facts.is_object()) return wrong(index, "an object");
  LW_TRY(add_checkpoints(index, facts.value("checkpoints", Json()), "", sample));
  LW_TRY(add_checkpoints(index, facts.value("finetune", Json()), "+", sample));
  if (sample.checkpoints.size() < 2) return wrong(index, "two checkpoints or more");
  LW_ASSIGN(sample.tokenizer, Tokenizer::load(sample.path_of(sample.checkpoints.front())));
  LW_ASSIGN(const Json problems, read_json(test));
  LW_TRY(add_problems(test, problems, sample));
  return sample;
}

bool Sample::is_right(size_t problem, const Completion& completion) const {
  return completion.finish_reason == FinishReason::kStop &&
         tokenizer->decode(completion.tokens) == problems[problem].answer;
}

}  // namespace liveweight::demo
