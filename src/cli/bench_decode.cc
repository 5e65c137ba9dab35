#include "cli/bench_decode.h"

#include <fmt/format.h>

#include "bench/decode_bench.h"
#include "cli/progress.h"

namespace liveweight::cli {
namespace {

Json to_json(const bench::DecodeFigures& f) {
  return {{"scheme", f.scheme},
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

std::string to_line(const bench::DecodeFigures& f) {
  return fmt::format("{:<34} {:>7.1f} {:>7.1f} {:>6.2f} {:>9.1f} {:>6.2f} {:>9.1f} {:>7.1f} {:>6.2f}\n",
                     f.scheme, f.decode_tokens_per_s, f.read_limit_tokens_per_s, f.decode_share,
                     f.batch_tokens_per_s, f.batch_share, f.prefill_tokens_per_s,
                     f.multiply_limit_tokens_per_s, f.prefill_share);
}

}  // namespace

Result<Outcome> bench_decode(const std::filesystem::path& directory, const std::vector<std::string>& schemes,
                             int rounds) {
  bench::DecodeOptions options;
  options.rounds = rounds;
  Progress progress("bench decode", static_cast<int64_t>(schemes.size()));
  Outcome out;
  Json results = Json::array();
  out.text = fmt::format(
      "tokens/s, and shares of the limits\n{:<34} {:>7} {:>7} {:>6} {:>9} {:>6} {:>9} {:>7} {:>6}\n",
      "scheme", "decode", "read", "share", fmt::format("batch {}", options.batch), "share",
      fmt::format("prompt {}", options.prompt_tokens), "fma", "share");
  for (const std::string& scheme : schemes) {
    LW_ASSIGN(const auto figures, bench::measure_decode(directory, scheme, options));
    out.text += to_line(figures);
    results.push_back(to_json(figures));
    progress.update(static_cast<int64_t>(results.size()));
  }
  out.json = {{"directory", directory.string()},
              {"rounds", options.rounds},
              {"prompt_tokens", options.prompt_tokens},
              {"new_tokens", options.new_tokens},
              {"batch", options.batch},
              {"decode", std::move(results)}};
  return out;
}

}  // namespace liveweight::cli
