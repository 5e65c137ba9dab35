#include "liveweight/digest.h"

#include <fmt/format.h>

#include "cli/command.h"

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
  const TensorParallelOptions& group = command.tensor_parallel;
  if (group.rank || group.size == 1) {
    options.tensor_parallel = {group.size, group.rank.value_or(0)};
    LW_ASSIGN(const auto model, load_logged(directory, options));
    return digest_of(*model);
  }
  std::vector<std::unique_ptr<LiveModel>> ranks;
  for (int64_t rank = 0; rank < group.size; ++rank) {
    options.tensor_parallel = {group.size, rank};
    LW_ASSIGN(auto model, load_logged(directory, options));
    ranks.push_back(std::move(model));
  }
  LW_ASSIGN(const auto whole, Plan::compile(directory.description, directory.catalog,
                                            {options.quantization, {}, options.mode}));
  return digest_of_ranks(*whole, ranks);
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
