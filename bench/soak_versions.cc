#include "bench/soak_versions.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "bench/soak_weights.h"
#include "quantize/kernel_format.h"

namespace liveweight::bench {
namespace {

constexpr size_t kFamilies = 3, kFull = 0, kPartial = 1, kDelta = 2, kMembers = 3;
constexpr std::array<const char*, kMembers> kNames = {"full", "partial", "delta"};
constexpr std::array<DeltaEncoding, kFamilies> kEncodings = {DeltaEncoding::kIndices, DeltaEncoding::kXor,
                                                             DeltaEncoding::kOverwrite};
constexpr size_t kRequests = 32;
constexpr int64_t kLongestPrompt = 16, kMostNewTokens = 32;

Status check_dtypes(const Checkpoint& checkpoint) {
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    if (is_high_precision(tensor.view.dtype)) continue;
    return fail(ErrorCode::kUnsupported,
                fmt::format("{}: tensor {}: a soak needs BF16, F16 or F32 to change, got {}",
                            checkpoint.directory().string(), tensor.name, to_string(tensor.view.dtype)),
                {std::string(tensor.name)});
  }
  return {};
}

std::filesystem::path delta_directory(const std::filesystem::path& folder, const SoakVersion& to) {
  return folder / ("to-" + to.name);
}

}  // namespace

Result<SoakVersions> SoakVersions::make(const ModelDirectory& directory, const LoadOptions& load,
                                        const EngineOptions& engine, uint64_t seed) {
  LW_TRY(check_dtypes(directory.checkpoint));
  LW_ASSIGN(TemporaryFolder folder, TemporaryFolder::make("liveweight-soak"));
  PlanOptions plan_options;
  plan_options.quantization = load.quantization;
  LW_ASSIGN(const auto plan, Plan::compile(directory.description, directory.catalog, plan_options));
  SoakVersions versions(std::move(folder));
  Random random(seed);
  versions.collect_tensors(*plan, directory.checkpoint);
  if (versions.tensors_.empty()) {
    return fail(ErrorCode::kUnsupported,
                fmt::format("{}: a soak needs tensors of the model's own names, and found none",
                            directory.checkpoint.directory().string()),
                {directory.checkpoint.directory().string()});
  }
  versions.draw_scopes(*plan, random);
  versions.draw_requests(plan->config(), engine.max_tokens, random);
  LW_TRY(versions.write_all(directory, random));
  LW_TRY(versions.load_cold(load, engine));
  return versions;
}

// A tied head that the checkpoint holds beside the embedding has to be equal to it, so both stay as they are.
void SoakVersions::collect_tensors(const Plan& plan, const Checkpoint& checkpoint) {
  const bool held_twice = plan.config().tied && checkpoint.find("lm_head.weight");
  for (const PlannedParameter& parameter : plan.parameters()) {
    if (held_twice && parameter.role == Role::kEmbedding) continue;
    for (const std::string& name : parameter.sources) {
      if (checkpoint.find(name)) tensors_.push_back(name);
    }
  }
}

// About half of the parameters, one at least; of a fused one all tensors or, where nothing spans them, the
// first.
void SoakVersions::draw_scopes(const Plan& plan, Random& random) {
  const auto changes = [&](const std::string& name) {
    return std::find(tensors_.begin(), tensors_.end(), name) != tensors_.end();
  };
  for (size_t family = 0; family < kFamilies; ++family) {
    std::vector<std::string>& scope = scopes_.emplace_back();
    while (scope.empty()) {
      for (const PlannedParameter& parameter : plan.parameters()) {
        if (draw_below(random, 2) == 0) continue;
        const Granularity granularity = parameter.format->scheme.granularity;
        const bool apart = granularity == Granularity::kNone || granularity == Granularity::kRow;
        const bool first_only = apart && draw_below(random, 2) == 0;
        for (const std::string& name : parameter.sources) {
          if (changes(name) && (!first_only || name == parameter.sources.front())) scope.push_back(name);
        }
      }
    }
  }
}

void SoakVersions::draw_requests(const ModelConfig& config, int64_t max_tokens, Random& random) {
  const auto longest_prompt = static_cast<size_t>(std::clamp<int64_t>(max_tokens / 2, 1, kLongestPrompt));
  for (size_t i = 0; i < kRequests; ++i) {
    Request request;
    for (size_t left = 1 + draw_below(random, longest_prompt); left > 0; --left) {
      request.prompt.push_back(
          static_cast<int32_t>(draw_below(random, static_cast<size_t>(config.vocab_size))));
    }
    const auto prompt = static_cast<int64_t>(request.prompt.size());
    const auto most = static_cast<size_t>(std::clamp<int64_t>(max_tokens - prompt, 1, kMostNewTokens));
    request.sampling.max_new_tokens = static_cast<int64_t>(1 + draw_below(random, most));
    request.sampling.ignore_eos = true;
    requests_.push_back(std::move(request));
  }
}

Status SoakVersions::write_all(const ModelDirectory& directory, Random& random) {
  for (size_t family = 0; family < kFamilies; ++family) {
    SoakWeights full(directory.checkpoint);
    for (const std::string& name : tensors_) full.change_all(name, random);
    SoakWeights partial = full, changed = full;
    for (const std::string& name : scopes_[family]) partial.change_all(name, random);
    for (const std::string& name : tensors_) changed.change_some(name, random);
    const std::array<const SoakWeights*, kMembers> members = {&full, &partial, &changed};
    for (size_t member = 0; member < kMembers; ++member) {
      const std::string name = fmt::format("{}-{}", family, kNames[member]);
      all_.push_back({name, folder_.path() / name, {}, {}});
      LW_TRY(members[member]->write(directory.checkpoint.directory(), all_.back().directory));
    }
    LW_TRY(write_deltas(family));
  }
  return {};
}

// There and back.
Status SoakVersions::write_deltas(size_t family) const {
  const SoakVersion* ends[] = {&all_[family * kMembers + kFull], &all_[family * kMembers + kDelta]};
  for (const int from : {0, 1}) {
    LW_ASSIGN(const Checkpoint old, Checkpoint::open(ends[from]->directory));
    LW_ASSIGN(const Checkpoint updated, Checkpoint::open(ends[1 - from]->directory));
    DeltaWriteOptions options;
    options.encoding = kEncodings[family];
    options.version = ends[1 - from]->name;
    options.base_version = ends[from]->name;
    LW_ASSIGN(DeltaWriter writer,
              DeltaWriter::create(delta_directory(folder_.path(), *ends[1 - from]), options));
    for (const CheckpointTensor& tensor : old.tensors()) {
      LW_TRY(writer.add(tensor.name, tensor.view, updated.find(tensor.name)->view));
    }
    LW_TRY(writer.finish());
  }
  return {};
}

Status SoakVersions::load_cold(const LoadOptions& load, const EngineOptions& engine) {
  LoadOptions cold = load;
  cold.mode = CommitMode::kInPlace;
  for (SoakVersion& version : all_) {
    LW_ASSIGN(const ModelDirectory directory, open_model_directory(version.directory, load.names));
    LW_ASSIGN(const auto model, load_model(directory, cold));
    LW_ASSIGN(const ModelDigest digest, digest_of(*model));
    version.digest = digest.model;
    LW_ASSIGN(const auto runner, Engine::create(*model, engine));
    LW_ASSIGN(version.answers, runner->generate(requests_));
  }
  return {};
}

const SoakVersion* SoakVersions::find(const std::string& name) const {
  const auto found = std::find_if(all_.begin(), all_.end(),
                                  [&](const SoakVersion& version) { return version.name == name; });
  return found == all_.end() ? nullptr : &*found;
}

std::optional<SoakStep> SoakVersions::partial_step(size_t from) const {
  const size_t family = from / kMembers, member = from % kMembers;
  if (member == kDelta) return {};
  return SoakStep{family * kMembers + (member == kFull ? kPartial : kFull), scopes_[family], {}};
}

std::optional<SoakStep> SoakVersions::delta_step(size_t from) const {
  const size_t family = from / kMembers, member = from % kMembers;
  if (member == kPartial) return {};
  const size_t to = family * kMembers + (member == kFull ? kDelta : kFull);
  return SoakStep{to, {}, delta_directory(folder_.path(), all_[to])};
}

}  // namespace liveweight::bench
