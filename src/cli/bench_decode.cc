#include "bench/decode_bench.h"

#include <fmt/format.h>

#include "cli/bench_command.h"
#include "cli/progress.h"

namespace liveweight::cli {
namespace {

Json to_json(const bench::DecodeFigures& f) {
  return {{"scheme", f.scheme},
          {"activations", to_string(f.activations)},
          {"token_bytes", f.token_bytes},
          {"read_gb_per_s", f.read_gb_per_s},
          {"read_limit_tokens_per_s", f.read_limit_tokens_per_s},
          {"decode_tokens_per_s", f.decode_tokens_per_s},
          {"decode_share_of_read_limit", f.decode_share},
          {"batch_tokens_per_s", f.batch_tokens_per_s},
          {"batch_share_of_read_limit", f.batch_share},
          {"multiply_limit_tokens_per_s", f.multiply_limit_tokens_per_s},
          {"prefill_tokens_per_s", f.prefill_tokens_per_s},
          {"prefill_share_of_multiply_limit", f.prefill_share}};
}

std::string label_of(const bench::DecodeFigures& f) {
  if (f.activations == Activations::kFp32) return f.scheme;
  return fmt::format("{}, {}", f.scheme, to_string(f.activations));
}

std::string to_line(const bench::DecodeFigures& f) {
  return fmt::format("{:<34} {:>7.1f} {:>7.1f} {:>6.2f} {:>9.1f} {:>6.2f} {:>9.1f} {:>7.1f} {:>6.2f}\n",
                     label_of(f), f.decode_tokens_per_s, f.read_limit_tokens_per_s, f.decode_share,
                     f.batch_tokens_per_s, f.batch_share, f.prefill_tokens_per_s,
                     f.multiply_limit_tokens_per_s, f.prefill_share);
}

}  // namespace

Result<Measured> bench_decode(const BenchOptions& given) {
  LW_ASSIGN(const std::filesystem::path directory, given.checkpoint());
  bench::DecodeOptions options;
  options.rounds = given.rounds;
  options.head = given.head;
  Progress progress("bench decode", static_cast<int64_t>(given.schemes.size()));
  Measured out;
  Json results = Json::array();
  const std::string batch = fmt::format("batch {}", options.batch);
  const std::string prompt = fmt::format("prompt {}", options.prompt_tokens);
  const auto bars = plot::Mark::kBars;
  plot::Panel panel{
      "", "share of the limit", 1.1, {{"decode", bars, {}}, {batch, bars, {}}, {prompt, bars, {}}}, "%.2f"};
  std::string& text = out.outcome.text;
  text = fmt::format(
      "tokens/s, and shares of the limits\n{:<34} {:>7} {:>7} {:>6} {:>9} {:>6} {:>9} {:>7} {:>6}\n",
      "scheme", "decode", "read", "share", batch, "share", prompt, "limit", "share");
  std::vector<std::string> labels;
  int64_t measured = 0;
  for (const std::string& scheme : given.schemes) {
    LW_ASSIGN(const auto all, bench::measure_decode(directory, scheme, options));
    for (const bench::DecodeFigures& f : all) {
      text += to_line(f);
      results.push_back(to_json(f));
      labels.push_back(label_of(f));
      panel.series[0].values.push_back(f.decode_share);
      panel.series[1].values.push_back(f.batch_share);
      panel.series[2].values.push_back(f.prefill_share);
    }
    progress.update(++measured);
  }
  out.outcome.json = {{"directory", directory.string()},
                      {"rounds", options.rounds},
                      {"prompt_tokens", options.prompt_tokens},
                      {"new_tokens", options.new_tokens},
                      {"head", options.head},
                      {"batch", options.batch},
                      {"decode", std::move(results)}};
  out.picture = one_panel(
      "Tokens under the roofs of memory and multipliers",
      fmt::format("decoding against reading the weights once a step, a prompt against multiplying and "
                  "adding every weight; medians of {} rounds",
                  options.rounds),
      std::move(labels), std::move(panel));
  return out;
}

}  // namespace liveweight::cli
