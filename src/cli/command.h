// What subcommands share: how they are declared, the options of a model, and how results leave the program.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "liveweight/load.h"

namespace liveweight::cli {

using Json = nlohmann::ordered_json;

// What a subcommand came to: its object, the same for people, and a refusal that did not stop it.
struct Outcome {
  Json json;
  std::string text;
  std::optional<Error> refused;  // exit code 2, after the output

  // Notes the refusal in the object, too.
  void refuse(const Error& error);
};

Json error_entry(const Error& error);  // {"code": ..., "message": ...}

// A subcommand adds its options to `app` and returns what runs once they are parsed.
using Run = std::function<Result<Outcome>()>;
Run add_inspect(CLI::App& app);
Run add_plan(CLI::App& app);
Run add_digest(CLI::App& app);
Run add_reload(CLI::App& app);
Run add_generate(CLI::App& app);
Run add_eval(CLI::App& app);
Run add_tokenize(CLI::App& app);
Run add_diff(CLI::App& app);
Run add_apply(CLI::App& app);
Run add_follow(CLI::App& app);
Run add_quantize(CLI::App& app);
Run add_bench(CLI::App& app);

// An option that names a file or a directory. An empty text, as an unset variable leaves it, is a usage
// error.
template <typename Path>
CLI::Option* add_path(CLI::App& app, const std::string& name, Path& path, const std::string& help) {
  return app.add_option(name, path, help)->check([](const std::string& text) {
    return std::string(text.empty() ? "expected a path, got nothing" : "");
  });
}

// DIR, --quant, --quant-config and --name-map.
struct ModelOptions {
  std::string directory;
  std::optional<std::string> quant;
  std::string quant_config;
  std::string name_map;

  void add_to(CLI::App& app);
  Result<NameMap> names() const;
  Result<ModelDirectory> open() const;
  // --quant or --quant-config, else what the checkpoint says.
  Result<QuantizationConfig> quantization(const ModelDirectory& directory) const;
};

// --tp-size and --tp-rank.
struct TensorParallelOptions {
  int64_t size = 1;
  std::optional<int64_t> rank;

  void add_to(CLI::App& app);
};

// load_model, with what it took in the log.
Result<std::unique_ptr<LiveModel>> load_logged(const ModelDirectory& directory, const LoadOptions& options);

std::string human_bytes(uint64_t bytes);  // "1.05 MB"

}  // namespace liveweight::cli
