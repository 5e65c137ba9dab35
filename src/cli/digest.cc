#include "liveweight/digest.h"

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/ranks.h"

namespace liveweight::cli {
namespace {

struct DigestCommand {
  ModelOptions model;
  TensorParallelOptions tensor_parallel;
};

Result<ModelDigest> compute(const DigestCommand& command) {
  LW_ASSIGN(const NameMap names, command.model.names());
  LW_ASSIGN(const ModelDirectory directory, command.model.open());
  LoadOptions options;
  LW_ASSIGN(options.quantization, command.model.quantization(directory));
  options.names = names;
  options.mode = CommitMode::kInPlace;  // one slot is enough for a model that is loaded once
  LW_ASSIGN(const Ranks ranks, load_ranks(directory, options, command.tensor_parallel));
  return digest_of(ranks, directory, options);
}

}  // namespace

Run add_digest(CLI::App& app) {
  auto command = std::make_shared<DigestCommand>();
  command->model.add_to(app);
  command->tensor_parallel.add_to(app);
  return [command]() -> Result<Outcome> {
    LW_ASSIGN(const ModelDigest digest, compute(*command));
    Outcome out;
    Json tensors = Json::object();
    for (const auto& [name, tensor] : digest.tensors) {
      tensors[name] = tensor.hex();
      out.text += fmt::format("{}  {}\n", tensor.hex(), name);
    }
    out.json = {{"model", digest.model.hex()}, {"tensors", tensors}};
    out.text = fmt::format("{}  (model)\n", digest.model.hex()) + out.text;
    return out;
  };
}

}  // namespace liveweight::cli
