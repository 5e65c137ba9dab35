// Generating text with a live model on the CPU: continuous batching over one captured step, beside any number
// of reloads.
//
// Every call of `step` runs one forward pass for all running requests under one pinned snapshot, so that each
// token is of one version; which one, a completion's spans say. Keys and values that a request has in its
// cache stay there when the version changes. Activations and sums are fp32, where nothing else is asked for,
// and a request's tokens and log-probabilities are the same to the bit whatever other requests run beside it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "liveweight/error.h"
#include "liveweight/live_model.h"

namespace liveweight {

// What the captured step holds: the address of the cell that names the pinned binding table, or the addresses
// of the slots themselves, as a CUDA graph would (for models whose commits are `copy` or `in_place`).
enum class Capture : uint8_t { kTable, kSlotAddresses };

// What a linear layer multiplies its weights with. kFp32 is exact: weights are decoded to fp32. With
// kInt8PerToken ("int8_per_token", what vLLM and compressed-tensors call dynamic per-token int8: W8A8, W4A8)
// symmetric int8 weights with one scale a row or a matrix, and symmetric int4 weights with one a group, are
// multiplied with activations that are quantized to int8 first, a scale a token, and added up exactly in
// int32; all other weights as with kFp32. Faster, and other numbers: docs/quantization.md.
enum class Activations : uint8_t { kFp32, kInt8PerToken };
std::string_view to_string(Activations activations);  // "fp32", "int8_per_token"
Result<Activations> parse_activations(std::string_view name);

struct EngineOptions {
  int64_t max_sequences = 8;       // requests that run at a time; others wait
  int64_t max_tokens = 0;          // of prompt and output together; 0: the model's max_position, at most 2048
  int64_t max_batch_tokens = 256;  // of one step; longer prompts take several
  Capture capture = Capture::kTable;
  int threads = 0;  // 0: as many as LIVEWEIGHT_THREADS or the machine says
  Activations activations = Activations::kFp32;
};

// As in Hugging Face and vLLM: the temperature divides the logits, then top_k, then top_p over what is left.
struct SamplingParameters {
  double temperature = 0;  // 0: greedy, the lowest id of equals
  double top_p = 1;        // (0, 1]
  int64_t top_k = 0;       // 0: all
  uint64_t seed = 0;       // equal seeds give equal tokens
  int64_t max_new_tokens = 16;
  bool ignore_eos = false;
  std::vector<int32_t> stop_token_ids;  // beside the model's eos ids
  int64_t logprobs = 0;                 // how many of the likeliest tokens to report at each position
};

struct Request {
  std::vector<int32_t> prompt;  // ids, with BOS where the model wants one
  SamplingParameters sampling;
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;  // natural logarithm of the softmax of the raw logits, whatever the temperature
  bool operator==(const TokenLogprob&) const = default;
};

struct GeneratedToken {
  int32_t token = 0;
  float logprob = 0;
  std::vector<TokenLogprob> top;  // SamplingParameters::logprobs of them, the likeliest first
  uint64_t version_number = 0;
};

// kStop: an eos or stop token, which is the last of the output. kLength: max_new_tokens.
enum class FinishReason : uint8_t { kStop, kLength, kCancelled };
std::string_view to_string(FinishReason reason);  // "stop", "length", "cancelled"

// Output tokens [start, end) are of that version. Spans follow one another from 0; neighbours differ.
struct VersionSpan {
  int64_t start = 0;
  int64_t end = 0;
  Version version;
};

struct Completion {
  uint64_t id = 0;
  int64_t prompt_tokens = 0;
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  std::vector<std::vector<TokenLogprob>> top_logprobs;
  FinishReason finish_reason = FinishReason::kStop;
  std::vector<VersionSpan> versions;
  double prefill_seconds = 0;  // from the first step to the first token
  double decode_seconds = 0;   // from there to the last
};

// Called on the thread that runs `step`, between steps; they may submit and cancel.
struct RequestCallbacks {
  std::function<void(uint64_t id, const GeneratedToken&)> on_token;
  std::function<void(const Completion&)> on_finish;
};

// Thread-safe. Any number of threads may submit and cancel; steps of several callers take turns.
class Engine {
 public:
  // Captures the step and allocates all that it needs. The model must outlive the engine. kInvalidArgument
  // names the option (int8 activations where no weight takes them, too); kUnsupported where the model holds
  // one rank of several.
  static Result<std::unique_ptr<Engine>> create(const LiveModel& model, const EngineOptions& options = {});
  ~Engine();

  // Queues a request. kInvalidArgument names what is wrong: an empty prompt, an id out of the vocabulary,
  // more tokens than a sequence has room for, a sampling parameter out of its range.
  Result<uint64_t> submit(Request request, RequestCallbacks callbacks = {});

  // Ends the request before the next step, with kCancelled. False where it is not there any more.
  bool cancel(uint64_t id);

  // Runs one batch; false where there was nothing to do. Fails as LiveModel::pin does; the requests stay.
  Result<bool> step();
  Status run_until_idle();

  // Waits until there is something to do, or the time is over; tells which.
  bool wait_for_work(std::chrono::milliseconds timeout);

  // Submits and runs until they are finished; other requests move on meanwhile.
  Result<Completion> generate(Request request);
  Result<std::vector<Completion>> generate(std::vector<Request> requests);

  // Calls `visit` with the logits after each position, in order, all of one version. kBusy where every
  // sequence is taken.
  Status forward_all(std::span<const int32_t> tokens,
                     const std::function<void(int64_t position, std::span<const float> logits)>& visit);

  // Requests in all: running and waiting.
  int64_t running() const;
  int64_t waiting() const;
  int64_t max_tokens() const;  // of a sequence

  // Every address that the captured step holds and those of both slots of every parameter: equal before and
  // after any reload.
  std::vector<const void*> addresses() const;

  // The instruction set that the kernels run on: "AVX3", "AVX2", "NEON", ...
  static std::string_view target();

  struct Implementation;

 private:
  Engine();
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace liveweight
