#include "bench/decode_bench.h"

#include <fmt/format.h>

#include <vector>

#include "base/memory.h"
#include "base/threads.h"
#include "bench/integer_multiply.h"
#include "bench/rounds.h"
#include "bench/streams.h"
#include "liveweight/engine.h"
#include "liveweight/load.h"
#include "quantize/kernel_format.h"

namespace liveweight::bench {
namespace {

// Seconds of each round.
struct Times {
  std::vector<double> read, multiply, decode, batch, prefill;  // decode and batch: of a step
};

struct Contestant {
  Activations activations = Activations::kFp32;
  std::unique_ptr<Engine> engine;
  Times times;
};

// The share of a parameter that one token reads: of experts the chosen ones, of an embedding a row.
double share_read(const Plan& plan, size_t index) {
  const PlannedParameter& parameter = plan.parameters()[index];
  if (parameter.format->matrices > 1) {
    return static_cast<double>(plan.config().experts_per_token) /
           static_cast<double>(parameter.format->matrices);
  }
  const bool is_head = plan.find(Role::kHead, -1) == static_cast<int64_t>(index);
  return parameter.role == Role::kEmbedding && !is_head ? 0 : 1;
}

uint64_t bytes_of_token(const Plan& plan) {
  double bytes = 0;
  for (size_t i = 0; i < plan.parameters().size(); ++i) {
    bytes += static_cast<double>(plan.parameters()[i].format->bytes) * share_read(plan, i);
  }
  return static_cast<uint64_t>(bytes);
}

// Multiply-adds of a prompt's token; the head works for its last one only.
double products_of_token(const Plan& plan) {
  double products = 0;
  for (size_t i = 0; i < plan.parameters().size(); ++i) {
    const KernelFormat& format = *plan.parameters()[i].format;
    if (static_cast<int64_t>(i) == plan.find(Role::kHead, -1)) continue;
    products += static_cast<double>(format.matrices * format.rows * format.cols) * share_read(plan, i);
  }
  return products;
}

Result<std::vector<Completion>> generate(Engine& engine, int64_t requests, int64_t prompt,
                                         int64_t new_tokens) {
  std::vector<Request> all(static_cast<size_t>(requests));
  for (size_t i = 0; i < all.size(); ++i) {
    for (int64_t at = 0; at < prompt; ++at) {
      all[i].prompt.push_back(static_cast<int32_t>(3 + (at * 7 + static_cast<int64_t>(i)) % 100));
    }
    all[i].sampling.max_new_tokens = new_tokens;
    all[i].sampling.ignore_eos = true;
  }
  return engine.generate(std::move(all));
}

Result<double> step_seconds(Engine& engine, int64_t requests, int64_t new_tokens) {
  LW_ASSIGN(const auto done, generate(engine, requests, 1, new_tokens));
  return done.front().decode_seconds / static_cast<double>(new_tokens - 1);
}

Result<double> prompt_seconds(Engine& engine, int64_t prompt) {
  LW_ASSIGN(const auto done, generate(engine, 1, prompt, 1));
  return done.front().prefill_seconds / static_cast<double>(prompt);
}

double multiply_seconds(Activations activations) {
  constexpr int64_t kProducts = 1 << 30;
  const double seconds = seconds_of([&] {
    if (activations == Activations::kFp32) {
      multiply_add(kProducts);
    } else {
      multiply_add_integers(kProducts);
    }
  });
  return seconds / kProducts;
}

Status run_round(Contestant& contestant, const Buffer& source, double products,
                 const DecodeOptions& options) {
  Engine& engine = *contestant.engine;
  Times& times = contestant.times;
  times.read.push_back(seconds_of([&] { stream(source.data(), source.size(), nullptr, 0); }));
  LW_ASSIGN(times.decode.emplace_back(), step_seconds(engine, 1, options.new_tokens));
  LW_ASSIGN(times.batch.emplace_back(), step_seconds(engine, options.batch, options.new_tokens));
  times.multiply.push_back(multiply_seconds(contestant.activations) * products);
  LW_ASSIGN(times.prefill.emplace_back(), prompt_seconds(engine, options.prompt_tokens));
  return {};
}

DecodeFigures figures_of(const std::string& scheme, uint64_t token_bytes, const Contestant& contestant,
                         const DecodeOptions& options) {
  const Times& times = contestant.times;
  DecodeFigures f;
  f.scheme = scheme;
  f.activations = contestant.activations;
  f.token_bytes = token_bytes;
  const double read = median(times.read);
  f.read_gb_per_s = static_cast<double>(token_bytes) / read / 1e9;
  f.read_limit_tokens_per_s = 1 / read;
  f.decode_tokens_per_s = 1 / median(times.decode);
  f.decode_share = share_of(times.read, times.decode);
  f.batch_tokens_per_s = static_cast<double>(options.batch) / median(times.batch);
  f.batch_share = share_of(times.read, times.batch);
  f.multiply_limit_tokens_per_s = 1 / median(times.multiply);
  f.prefill_tokens_per_s = 1 / median(times.prefill);
  f.prefill_share = share_of(times.multiply, times.prefill);
  return f;
}

// Engines of the model for all kinds of activations that it takes, every page of them touched.
Result<std::vector<Contestant>> contestants_of(const LiveModel& model, const DecodeOptions& options) {
  EngineOptions engine_options;
  engine_options.max_sequences = options.batch;
  engine_options.max_tokens = options.prompt_tokens + options.new_tokens;
  engine_options.max_batch_tokens = options.prompt_tokens;
  std::vector<Contestant> all;
  for (const Activations activations : {Activations::kFp32, Activations::kInt8PerToken}) {
    engine_options.activations = activations;
    auto engine = Engine::create(model, engine_options);
    if (!engine && activations != Activations::kFp32) continue;
    if (!engine) return tl::unexpected(engine.error());
    LW_TRY(step_seconds(**engine, options.batch, 2));
    all.push_back({activations, std::move(*engine), {}});
  }
  return all;
}

Result<std::unique_ptr<LiveModel>> load(const std::filesystem::path& directory, const std::string& scheme,
                                        const std::string& head) {
  LoadOptions options;
  LW_ASSIGN(const Scheme linear, parse_scheme(scheme));
  LW_ASSIGN(const Scheme of_head, parse_scheme(head));
  LW_ASSIGN(options.quantization,
            QuantizationConfig::parse(fmt::format(R"({{"linear": "{}", "targets": {{"lm_head": "{}"}}}})",
                                                  to_string(linear), to_string(of_head))));
  options.mode = CommitMode::kInPlace;  // one slot is enough
  LW_ASSIGN(const ModelDirectory opened, open_model_directory(directory));
  return load_model(opened, options);
}

}  // namespace

Result<std::vector<DecodeFigures>> measure_decode(const std::filesystem::path& directory,
                                                  const std::string& scheme, const DecodeOptions& options) {
  LW_ASSIGN(const auto model, load(directory, scheme, options.head));
  LW_ASSIGN(std::vector<Contestant> contestants, contestants_of(*model, options));
  const uint64_t bytes = bytes_of_token(model->plan());
  const double products = products_of_token(model->plan());
  LW_ASSIGN(const Buffer source, Buffer::allocate(bytes));
  for (int round = 0; round < options.rounds; ++round) {
    for (Contestant& contestant : contestants) LW_TRY(run_round(contestant, source, products, options));
  }
  std::vector<DecodeFigures> figures;
  for (const Contestant& contestant : contestants) {
    figures.push_back(figures_of(scheme, bytes, contestant, options));
  }
  return figures;
}

}  // namespace liveweight::bench
