#include <fmt/format.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <utility>
#include <variant>

#include "errors.h"
#include "model.h"

namespace nb = nanobind;

namespace liveweight::python {
namespace {

using Prompt = std::variant<std::string, std::vector<int32_t>>;

struct Output {
  Completion completion;
  std::optional<std::string> text;
};

Result<std::vector<int32_t>> ids_of(const ModelState& state, Prompt prompt) {
  if (auto* ids = std::get_if<std::vector<int32_t>>(&prompt)) return std::move(*ids);
  if (!state.tokenizer) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: it has no tokenizer: give token ids instead of text", state.directory.string()));
  }
  return state.tokenizer->encode(std::get<std::string>(prompt));
}

Result<std::vector<Completion>> run(ModelState& state, std::vector<Prompt> prompts,
                                    const SamplingParameters& sampling) {
  std::vector<Request> requests;
  for (size_t i = 0; i < prompts.size(); ++i) {
    Request request;
    LW_ASSIGN(request.prompt, ids_of(state, std::move(prompts[i])));
    request.sampling = sampling;
    request.sampling.seed = sampling.seed + i;
    requests.push_back(std::move(request));
  }
  LW_ASSIGN(Engine * engine, state.shared_engine());
  return engine->generate(std::move(requests));
}

std::vector<Output> generate(const ModelHandle& model, std::vector<Prompt> prompts, int64_t max_new_tokens,
                             double temperature, double top_p, int64_t top_k, uint64_t seed, bool ignore_eos,
                             std::vector<int32_t> stop_token_ids, int64_t logprobs) {
  const SamplingParameters sampling{
      temperature, top_p, top_k, seed, max_new_tokens, ignore_eos, std::move(stop_token_ids), logprobs};
  nb::gil_scoped_release released;
  std::vector<Output> outputs;
  const auto& tokenizer = model.state->tokenizer;
  for (Completion& completion : value_of(run(*model.state, std::move(prompts), sampling))) {
    std::optional<std::string> text;
    if (tokenizer) text = tokenizer->decode(completion.tokens);
    outputs.push_back({std::move(completion), std::move(text)});
  }
  return outputs;
}

nb::list top_logprobs(const Output& output) {
  nb::list positions;
  for (const auto& position : output.completion.top_logprobs) {
    nb::list pairs;
    for (const TokenLogprob& entry : position) pairs.append(nb::make_tuple(entry.token, entry.logprob));
    positions.append(pairs);
  }
  return positions;
}

nb::list versions(const Output& output) {
  nb::list spans;
  for (const VersionSpan& span : output.completion.versions)
    spans.append(nb::make_tuple(span.start, span.end, span.version));
  return spans;
}

}  // namespace

void bind_generate(nb::module_& module, nb::class_<ModelHandle>& model) {
  nb::class_<Output>(module, "Completion", "What came after a prompt.")
      .def_prop_ro("tokens", [](const Output& o) { return o.completion.tokens; })
      .def_prop_ro(
          "text", [](const Output& o) { return o.text; },
          "None where the model's directory has no tokenizer.")
      .def_prop_ro(
          "prompt_tokens", [](const Output& o) { return o.completion.prompt_tokens; }, "How many.")
      .def_prop_ro(
          "logprobs", [](const Output& o) { return o.completion.logprobs; },
          "Of the chosen tokens: natural logarithms of the softmax of the raw logits, whatever the "
          "temperature.")
      .def_prop_ro("top_logprobs", &top_logprobs, "By position: (token, logprob), the likeliest first.",
                   nb::sig("def top_logprobs(self) -> list[list[tuple[int, float]]]"))
      .def_prop_ro(
          "finish_reason", [](const Output& o) { return std::string(to_string(o.completion.finish_reason)); },
          "\"stop\" (an eos or stop token, which is the last one) or \"length\".")
      .def_prop_ro("versions", &versions,
                   "(start, end, Version): which version each span of output tokens is of.",
                   nb::sig("def versions(self) -> list[tuple[int, int, Version]]"));
  model.def(
      "generate", &generate, nb::arg("prompts"), nb::kw_only(), nb::arg("max_new_tokens") = 16,
      nb::arg("temperature") = 0.0, nb::arg("top_p") = 1.0, nb::arg("top_k") = 0, nb::arg("seed") = 0,
      nb::arg("ignore_eos") = false, nb::arg("stop_token_ids") = std::vector<int32_t>{},
      nb::arg("logprobs") = 0,
      "Completes every prompt (text, or a list of token ids) in one batch; updates may commit meanwhile.\n\n"
      "temperature 0 is greedy. Prompt i is sampled with seed + i. logprobs: how many of the likeliest "
      "tokens to\n"
      "report at each position.",
      nb::sig("def generate(self, prompts: collections.abc.Sequence[str | collections.abc.Sequence[int]], *, "
              "max_new_tokens: int = 16, temperature: float = 0.0, top_p: float = 1.0, top_k: int = 0, seed: "
              "int = 0, "
              "ignore_eos: bool = False, stop_token_ids: collections.abc.Sequence[int] = [], logprobs: int = "
              "0) -> "
              "list[Completion]"));
}

}  // namespace liveweight::python
