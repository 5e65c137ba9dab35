#include "cli/command.h"

#include <fmt/format.h>

#include <array>

#include "base/clock.h"
#include "cli/log.h"

namespace liveweight::cli {

void ModelOptions::add_to(CLI::App& app) {
  add_path(app, "DIR", directory, "Hugging Face directory of the model")->required();
  auto* scheme =
      app.add_option("--quant", quant,
                     "scheme: none, int8_per_channel, int4_per_group[:G], fp8_per_tensor, fp8_per_channel or "
                     "fp8_per_block, each with an optional @profile; without it, what the checkpoint says");
  add_path(app, "--quant-config", quant_config, "JSON file that selects schemes per module")
      ->excludes(scheme);
  add_path(app, "--name-map", name_map,
           "JSON file: list of [regular expression, replacement] for tensor names");
}

Result<NameMap> ModelOptions::names() const {
  if (name_map.empty()) return NameMap();
  LW_ASSIGN(const std::string text, read_text_file(name_map));
  auto map = NameMap::parse(text);
  if (!map) map.error().message = fmt::format("{}: {}", name_map, map.error().message);
  return map;
}

Result<ModelDirectory> ModelOptions::open() const {
  LW_ASSIGN(const NameMap map, names());
  return open_model_directory(directory, map);
}

Result<QuantizationConfig> ModelOptions::quantization(const ModelDirectory& opened) const {
  std::optional<QuantizationConfig> asked;
  if (quant) {
    LW_ASSIGN(const Scheme scheme, parse_scheme(*quant));
    asked = QuantizationConfig::uniform(scheme);
  } else if (!quant_config.empty()) {
    LW_ASSIGN(const std::string text, read_text_file(quant_config));
    auto parsed = QuantizationConfig::parse(text);
    if (!parsed) {
      parsed.error().message = fmt::format("{}: {}", quant_config, parsed.error().message);
      return tl::unexpected(parsed.error());
    }
    asked = std::move(*parsed);
  }
  return choose_quantization(opened, asked);
}

void TensorParallelOptions::add_to(CLI::App& app) {
  constexpr int64_t kMostRanks = 4096;
  app.add_option("--tp-size", size, "tensor parallel ranks")->check(CLI::Range(int64_t{1}, kMostRanks));
  app.add_option("--tp-rank", rank, "this rank, from 0")->check(CLI::Range(int64_t{0}, kMostRanks));
}

Result<std::unique_ptr<LiveModel>> load_logged(const ModelDirectory& directory, const LoadOptions& options) {
  const auto begin = Clock::now();
  LW_ASSIGN(auto model, load_model(directory, options));
  log_line(LogLevel::kInfo,
           fmt::format("loaded {} in {:.3f} s: {} of source, {} live",
                       directory.checkpoint.directory().string(), seconds_since(begin),
                       human_bytes(model->plan().source_bytes()), human_bytes(model->plan().live_bytes())));
  return model;
}

void Outcome::refuse(const Error& error) {
  json["error"] = error_entry(error);
  refused = error;
}

Json error_entry(const Error& error) {
  return {{"code", to_string(error.code)}, {"message", error.message}};
}

std::string human_bytes(uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "kB", "MB", "GB", "TB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1000 && unit + 1 < kUnits.size()) value /= 1000, ++unit;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.2f} {}", value, kUnits[unit]);
}

}  // namespace liveweight::cli
