#include "liveweight/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "infer/linear_kernels.h"
#include "infer/scheduler.h"
#include "infer/step.h"

namespace liveweight {
namespace {

constexpr int64_t kDefaultMaxTokens = 2048;
constexpr int64_t kScoredTogether = 64;

Status option_error(const char* name, const std::string& expected, int64_t got) {
  return fail(ErrorCode::kInvalidArgument, fmt::format("{}: expected {}, got {}", name, expected, got),
              {name});
}

Status check_options(const EngineOptions& options, const ModelConfig& config) {
  if (options.max_sequences < 1) return option_error("max_sequences", "1 or more", options.max_sequences);
  if (options.max_batch_tokens < 1)
    return option_error("max_batch_tokens", "1 or more", options.max_batch_tokens);
  if (options.threads < 0) return option_error("threads", "0 (automatic) or more", options.threads);
  if (options.max_tokens < 0 || options.max_tokens > config.max_position) {
    return option_error("max_tokens",
                        fmt::format("0 (automatic) to the model's {} positions", config.max_position),
                        options.max_tokens);
  }
  return {};
}

StepShape shape_of(const EngineOptions& options, const ModelConfig& config) {
  StepShape shape;
  shape.max_rows = std::max(options.max_batch_tokens, options.max_sequences);
  shape.max_logit_rows = std::max(options.max_sequences, std::min(shape.max_rows, kScoredTogether));
  shape.sequences = options.max_sequences;
  shape.max_tokens =
      options.max_tokens > 0 ? options.max_tokens : std::min(config.max_position, kDefaultMaxTokens);
  shape.threads = options.threads > 0 ? options.threads : default_threads();
  shape.capture = options.capture;
  shape.activations = options.activations;
  return shape;
}

// A token that a step gave, and the request where that was its last.
struct Event {
  const Sequence* sequence = nullptr;
  GeneratedToken token;
  std::unique_ptr<Sequence> ended;

  void tell() const;
};

}  // namespace

struct Engine::Implementation {
  Implementation(const LiveModel& live, const StepShape& step_shape, std::unique_ptr<Step> captured)
      : model(live), shape(step_shape), step(std::move(captured)), scheduler(step_shape.sequences) {}

  const ModelConfig& config() const { return model.plan().config(); }
  Status check_tokens(std::span<const int32_t> tokens, int64_t new_tokens) const;
  Result<std::vector<Event>> run_parts(const std::vector<Scheduler::Part>& parts);
  void score_chunk(std::span<const int32_t> tokens, int64_t begin, int64_t place, const Snapshot& snapshot);

  const LiveModel& model;
  const StepShape shape;
  std::mutex stepping;
  std::unique_ptr<Step> step;
  Scheduler scheduler;
};

std::string_view to_string(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "stop";
}

std::string_view to_string(Activations activations) {
  return activations == Activations::kFp32 ? "fp32" : "int8_per_token";
}

Result<Activations> parse_activations(std::string_view name) {
  for (const Activations activations : {Activations::kFp32, Activations::kInt8PerToken}) {
    if (name == to_string(activations)) return activations;
  }
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("activations: expected fp32 or int8_per_token, got {}", name), {"activations"});
}

Engine::Engine() = default;
Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::create(const LiveModel& model, const EngineOptions& options) {
  const ModelConfig& config = model.plan().config();
  LW_TRY(check_options(options, config));
  const StepShape shape = shape_of(options, config);
  LW_ASSIGN(std::unique_ptr<Step> step, Step::capture(model, shape));
  std::unique_ptr<Engine> engine(new Engine);
  engine->implementation_ = std::make_unique<Implementation>(model, shape, std::move(step));
  return engine;
}

Status Engine::Implementation::check_tokens(std::span<const int32_t> tokens, int64_t new_tokens) const {
  if (tokens.empty())
    return fail(ErrorCode::kInvalidArgument, "prompt: expected at least one token, got none");
  const auto count = static_cast<int64_t>(tokens.size());
  if (new_tokens > shape.max_tokens - std::min(count, shape.max_tokens) || count > shape.max_tokens) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("prompt: expected at most {} tokens with its output, got {} and {} new ones",
                            shape.max_tokens, count, new_tokens));
  }
  for (const int32_t token : tokens) {
    if (token < 0 || token >= config().vocab_size) {
      return fail(ErrorCode::kInvalidArgument, fmt::format("prompt: expected token ids from 0 to {}, got {}",
                                                           config().vocab_size - 1, token));
    }
  }
  return {};
}

Result<uint64_t> Engine::submit(Request request, RequestCallbacks callbacks) {
  LW_TRY(check_sampling(request.sampling, implementation_->config().vocab_size));
  LW_TRY(implementation_->check_tokens(request.prompt, request.sampling.max_new_tokens));
  return implementation_->scheduler.submit(std::move(request), std::move(callbacks));
}

bool Engine::cancel(uint64_t id) {
  return implementation_->scheduler.cancel(id);
}

bool Engine::wait_for_work(std::chrono::milliseconds timeout) {
  return implementation_->scheduler.wait_for_work(timeout);
}

int64_t Engine::running() const {
  return implementation_->scheduler.running();
}
int64_t Engine::waiting() const {
  return implementation_->scheduler.waiting();
}
int64_t Engine::max_tokens() const {
  return implementation_->shape.max_tokens;
}

Result<std::vector<Event>> Engine::Implementation::run_parts(const std::vector<Scheduler::Part>& parts) {
  LW_ASSIGN(const Snapshot snapshot, model.pin());
  step->run(snapshot.table());
  const std::string label = model.label_of(snapshot.version_number());
  std::vector<Event> events;
  for (const Scheduler::Part& part : parts) {
    Sequence& sequence = scheduler.at(part.place);
    sequence.advance(part.tokens);
    if (part.logits < 0) continue;
    Event event;
    event.sequence = &sequence;
    const std::span logits(step->logits(part.logits), static_cast<size_t>(config().vocab_size));
    if (sequence.take(logits, snapshot.version_number(), label, config().eos_token_ids, event.token)) {
      event.ended = scheduler.take_out(part.place);
    }
    events.push_back(std::move(event));
  }
  return events;
}

void Event::tell() const {
  if (sequence->callbacks().on_token) sequence->callbacks().on_token(sequence->id(), token);
  if (ended && ended->callbacks().on_finish) ended->callbacks().on_finish(ended->completion());
}

Result<bool> Engine::step() {
  std::lock_guard lock(implementation_->stepping);
  for (const std::unique_ptr<Sequence>& gone : implementation_->scheduler.begin_step()) {
    if (gone->callbacks().on_finish) gone->callbacks().on_finish(gone->completion());
  }
  const std::vector<Scheduler::Part> parts = implementation_->scheduler.plan(implementation_->step->input());
  if (parts.empty()) return false;
  // The snapshot is let go before anybody is told: a callback may take as long as it likes.
  LW_ASSIGN(const std::vector<Event> events, implementation_->run_parts(parts));
  for (const Event& event : events) event.tell();
  return true;
}

Status Engine::run_until_idle() {
  while (true) {
    LW_ASSIGN(const bool worked, step());
    if (!worked) return {};
  }
}

Result<Completion> Engine::generate(Request request) {
  std::vector<Request> requests;
  requests.push_back(std::move(request));
  LW_ASSIGN(std::vector<Completion> completions, generate(std::move(requests)));
  return std::move(completions.front());
}

Result<std::vector<Completion>> Engine::generate(std::vector<Request> requests) {
  std::vector<Completion> completions(requests.size());
  std::atomic<size_t> missing{requests.size()};
  std::vector<uint64_t> ids;
  Status status;
  for (size_t i = 0; i < requests.size() && status; ++i) {
    RequestCallbacks callbacks;
    callbacks.on_finish = [&completions, &missing, i](const Completion& completion) {
      completions[i] = completion;
      --missing;
    };
    Result<uint64_t> id = submit(std::move(requests[i]), std::move(callbacks));
    if (id) {
      ids.push_back(*id);
    } else {
      status = tl::unexpected(std::move(id).error());
    }
  }
  const auto unsubmitted = completions.size() - ids.size();
  while (missing > unsubmitted && status) {
    if (Result<bool> worked = step(); !worked) status = tl::unexpected(std::move(worked).error());
  }
  if (status) return completions;
  // The callbacks refer to what is gone on return.
  for (const uint64_t id : ids) cancel(id);
  std::lock_guard lock(implementation_->stepping);
  for (const auto& gone : implementation_->scheduler.begin_step()) {
    if (gone->callbacks().on_finish) gone->callbacks().on_finish(gone->completion());
  }
  return tl::unexpected(std::move(status).error());
}

void Engine::Implementation::score_chunk(std::span<const int32_t> tokens, int64_t begin, int64_t place,
                                         const Snapshot& snapshot) {
  StepInput& input = step->input();
  const auto count = static_cast<int64_t>(tokens.size());
  input.rows = input.logit_rows = std::min(count - begin, std::min(shape.max_rows, shape.max_logit_rows));
  for (int64_t i = 0; i < input.rows; ++i) {
    input.tokens[i] = tokens[begin + i];
    input.positions[i] = begin + i;
    input.sequences[i] = place;
    input.logits_of[i] = i;
  }
  step->run(snapshot.table());
}

Status Engine::forward_all(std::span<const int32_t> tokens,
                           const std::function<void(int64_t, std::span<const float>)>& visit) {
  Implementation& engine = *implementation_;
  LW_TRY(engine.check_tokens(tokens, 0));
  std::lock_guard lock(engine.stepping);
  const std::optional<int64_t> place = engine.scheduler.free_place();
  if (!place) {
    return fail(ErrorCode::kBusy,
                fmt::format("expected a free sequence, got {} that are all taken", engine.shape.sequences));
  }
  LW_ASSIGN(const Snapshot snapshot, engine.model.pin());
  for (int64_t begin = 0; begin < static_cast<int64_t>(tokens.size());) {
    engine.score_chunk(tokens, begin, *place, snapshot);
    const int64_t rows = engine.step->input().rows;
    for (int64_t i = 0; i < rows; ++i) {
      visit(begin + i, {engine.step->logits(i), static_cast<size_t>(engine.config().vocab_size)});
    }
    begin += rows;
  }
  return {};
}

std::vector<const void*> Engine::addresses() const {
  std::vector<const void*> all = implementation_->step->addresses();
  const LiveModel& model = implementation_->model;
  for (size_t i = 0; i < model.plan().parameters().size(); ++i) {
    for (const int slot : {0, 1}) all.push_back(model.slot_address(static_cast<int64_t>(i), slot));
  }
  return all;
}

std::string_view Engine::target() {
  return infer_target();
}

}  // namespace liveweight
