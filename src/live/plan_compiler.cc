#include "live/plan_compiler.h"

#include <fmt/format.h>

#include <algorithm>

#include "live/module_names.h"
#include "live/plan_hash.h"

namespace liveweight {
namespace {

constexpr uint64_t kSlotAlignment = 128;
constexpr uint64_t kBookkeepingBytes =
    1 << 20;  // queues and counters of one update, beside those of each tensor
constexpr uint64_t kBookkeepingPerSource = 256;

int64_t role_key(Role role, int64_t layer) {
  return layer * 64 + static_cast<int64_t>(role);
}

Shape planned_shape(const ParameterDescription& parameter, const ParameterCut& cut) {
  if (parameter.rank == 1) return {cut.rows};
  if (parameter.role == Role::kExpertsGateUp || parameter.role == Role::kExpertsDown) {
    return {parameter.matrices, cut.rows, cut.cols};
  }
  return {cut.rows, cut.cols};
}

// The unit of a scheme over a source of that size, and whether it must wait for the whole matrix.
void set_tile(Target& target, const KernelFormat& format, const Source& source) {
  const Scheme& scheme = format.scheme;
  switch (scheme.granularity) {
    case Granularity::kNone:
      break;
    case Granularity::kRow:
      target.tile_cols = source.cols;
      break;
    case Granularity::kTensor:
      target.held = true;
      break;
    case Granularity::kGroup: {
      // Two groups that share a byte cannot be written apart.
      const bool shares_bytes =
          scheme.element == Element::kInt4 && (scheme.size % 2 != 0 || format.source_col % 2 != 0);
      target.tile_cols = shares_bytes ? source.cols : scheme.size;
      break;
    }
    case Granularity::kBlock:
      target.tile_rows = target.tile_cols = scheme.size;
      target.held =
          scheme.profile == Profile::kNemo && (source.rows % scheme.size || source.cols % scheme.size);
      break;
  }
}

}  // namespace

PlanCompiler::PlanCompiler(const ModelDescription& model, const TensorCatalog& catalog,
                           const PlanOptions& options)
    : model_(model), catalog_(catalog), plan_(std::make_unique<Plan::Implementation>()) {
  plan_->config = model.config;
  plan_->options = options;
}

Result<std::unique_ptr<Plan::Implementation>> PlanCompiler::compile() {
  const TensorParallel group = plan_->options.tensor_parallel;
  if (group.size < 1 || group.rank < 0 || group.rank >= group.size) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("tensor parallel rank {} of {}: expected 0 <= rank < size", group.rank, group.size));
  }
  make_room();
  for (const ParameterDescription& parameter : model_.parameters) LW_TRY(add_parameter(parameter));
  add_aliases();
  finish();
  return std::move(plan_);
}

// For as many names as a high-precision checkpoint has.
void PlanCompiler::make_room() {
  size_t members = 0;
  for (const ParameterDescription& parameter : model_.parameters) members += parameter.members.size();
  plan_->reserve_sources(members + model_.aliases.size());
}

Status PlanCompiler::add_parameter(const ParameterDescription& parameter) {
  LW_ASSIGN(const Scheme scheme, scheme_of(parameter));
  if (shares_embedding(parameter, scheme)) {
    plan_->roles[role_key(parameter.role, -1)] = plan_->roles.at(role_key(Role::kEmbedding, -1));
    return {};
  }
  LW_ASSIGN(const ParameterCut cut, cut_parameter(parameter, plan_->options.tensor_parallel));
  const bool stored =
      scheme.quantizes() && plan_->options.quantization.quantization_case() == QuantizationCase::kOffline;
  return stored ? add_stored(parameter, cut, scheme) : add_quantized_here(parameter, cut, scheme);
}

Result<Scheme> PlanCompiler::scheme_of(const ParameterDescription& parameter) const {
  const ModuleKind kind = module_kind(parameter.role);
  if (parameter.rank == 1 || kind == ModuleKind::kOther) return Scheme{};
  // A tied head is told by its own name: that it reads the embedding's tensor is no concern of the
  // configuration.
  if (kind == ModuleKind::kHead)
    return plan_->options.quantization.scheme_for(module_of(parameter.name), kind);
  LW_ASSIGN(const Scheme first,
            plan_->options.quantization.scheme_for(module_of(parameter.members[0].name), kind));
  for (const Member& member : parameter.members) {
    LW_ASSIGN(const Scheme scheme, plan_->options.quantization.scheme_for(module_of(member.name), kind));
    if (scheme == first) continue;
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: its fused members must have one scheme, but {} has {} and {} has {}",
                            parameter.name, module_of(parameter.members[0].name), to_string(first),
                            module_of(member.name), to_string(scheme)),
                {parameter.members[0].name, member.name});
  }
  return first;
}

bool PlanCompiler::shares_embedding(const ParameterDescription& parameter, const Scheme& scheme) const {
  if (parameter.role != Role::kHead || !model_.config.tied) return false;
  const auto embedding = plan_->roles.find(role_key(Role::kEmbedding, -1));
  return embedding != plan_->roles.end() && plan_->parameters[embedding->second].format->scheme == scheme;
}

Result<TensorFacts> PlanCompiler::facts_of(const std::string& name, const std::string& needed_by) const {
  if (const auto found = catalog_.find(name); found != catalog_.end()) return found->second;
  for (const auto& [alias, primary] : model_.aliases) {
    if (primary != name) continue;
    if (const auto found = catalog_.find(alias); found != catalog_.end()) return found->second;
  }
  return fail(ErrorCode::kMissingTensor, fmt::format("tensor {} is missing: {} needs it", name, needed_by),
              {name});
}

Result<int32_t> PlanCompiler::add_source(const std::string& name, const Shape& expected,
                                         const std::string& parameter) {
  if (const int32_t known = plan_->find_source(name); known >= 0) return known;
  LW_ASSIGN(const TensorFacts facts, facts_of(name, parameter));
  if (facts.shape != expected) {
    return fail(ErrorCode::kWrongShape,
                fmt::format("tensor {}: expected shape {}, got {}", name, to_string(expected),
                            to_string(facts.shape)),
                {name});
  }
  Source source;
  source.name = name;
  source.dtype = facts.dtype;
  source.shape = expected;
  source.rows = expected.empty() ? 1 : expected[0];
  source.cols = expected.size() < 2 ? 1 : element_count(expected) / std::max<int64_t>(1, expected[0]);
  source.bytes = bytes_of(facts.dtype, static_cast<uint64_t>(element_count(expected))).value_or(0);
  return plan_->add_source(std::move(source));
}

int32_t PlanCompiler::add_planned(const ParameterDescription& parameter, KernelFormat format,
                                  const ParameterCut& cut) {
  const auto index = static_cast<int32_t>(plan_->parameters.size());
  plan_->roles[role_key(parameter.role, parameter.layer)] = index;
  plan_->parameters.push_back({parameter.name,
                               parameter.role,
                               parameter.layer,
                               planned_shape(parameter, cut),
                               {},
                               std::make_shared<const KernelFormat>(std::move(format))});
  plan_->cuts.push_back(parameter.cut);
  std::vector<int32_t> members;
  for (const MemberCut& member : cut.members) members.push_back(member.member);
  plan_->segment_members.push_back(std::move(members));
  plan_->parameter_sources.emplace_back();
  return index;
}

Status PlanCompiler::add_quantized_here(const ParameterDescription& parameter, const ParameterCut& cut,
                                        const Scheme& scheme) {
  LW_ASSIGN(const TensorFacts first, facts_of(parameter.members[0].name, parameter.name));
  if (!is_high_precision(first.dtype)) {
    return fail(ErrorCode::kWrongDtype,
                fmt::format("tensor {}: expected BF16, F16 or F32, got {}", parameter.members[0].name,
                            to_string(first.dtype)),
                {parameter.members[0].name});
  }
  const int32_t index =
      add_planned(parameter, make_kernel_format(scheme, first.dtype, cut_shape(parameter, cut)), cut);
  const KernelFormat& format = *plan_->parameters[index].format;
  int32_t member_index = 0;
  int64_t matrix = 0;
  for (const Member& member : parameter.members) {
    if (member.matrix != matrix) member_index = 0;
    matrix = member.matrix;
    LW_ASSIGN(const int32_t source, add_source(member.name, member.shape, parameter.name));
    if (plan_->sources[source].dtype != first.dtype) {
      return fail(ErrorCode::kWrongDtype,
                  fmt::format("tensor {}: expected {} like {}, got {}", member.name, to_string(first.dtype),
                              parameter.members[0].name, to_string(plan_->sources[source].dtype)),
                  {member.name, parameter.members[0].name});
    }
    Target target;
    target.parameter = index;
    target.matrix = static_cast<int32_t>(member.matrix);
    for (size_t i = 0; i < cut.members.size(); ++i) {
      if (cut.members[i].member == member_index) target.segments.push_back(format.segments[i]);
    }
    set_tile(target, format, plan_->sources[source]);
    plan_->sources[source].targets.push_back(std::move(target));
    plan_->parameter_sources[index].push_back(source);
    ++member_index;
  }
  return {};
}

void PlanCompiler::add_aliases() {
  for (const auto& [alias, primary] : model_.aliases) {
    const int32_t index = plan_->find_source(primary);
    if (index < 0 || plan_->find_source(alias) >= 0) continue;
    Source source = plan_->sources[index];
    source.name = alias;
    source.alias_of = index;
    source.targets.clear();
    plan_->aliases.push_back(plan_->add_source(std::move(source)));
  }
}

// How many elements each held target waits for: those of all members of its matrix, or of its own tensor.
void PlanCompiler::count_awaited(int32_t parameter) {
  std::vector<int64_t> of_matrix(static_cast<size_t>(plan_->parameters[parameter].format->matrices));
  const auto for_each_held = [&](const auto& body) {
    for (const int32_t index : plan_->parameter_sources[parameter]) {
      Source& source = plan_->sources[index];
      for (Target& target : source.targets) {
        if (target.parameter == parameter && target.held) body(target, source.rows * source.cols);
      }
    }
  };
  for_each_held([&](const Target& target, int64_t elements) { of_matrix[target.matrix] += elements; });
  for_each_held([&](Target& target, int64_t elements) {
    target.awaited = shares_scale(target) ? of_matrix[target.matrix] : elements;
  });
}

void PlanCompiler::finish() {
  for (size_t i = 0; i < plan_->parameters.size(); ++i) {
    PlannedParameter& parameter = plan_->parameters[i];
    plan_->live_bytes += (parameter.format->bytes + kSlotAlignment - 1) / kSlotAlignment * kSlotAlignment;
    for (const int32_t source : plan_->parameter_sources[i])
      parameter.sources.push_back(plan_->sources[source].name);
  }
  for (const Source& source : plan_->sources) {
    if (source.alias_of < 0) plan_->source_bytes += source.bytes;
    plan_->holds |= std::any_of(source.targets.begin(), source.targets.end(),
                                [](const Target& target) { return target.held; });
  }
  for (int32_t p = 0; plan_->holds && p < static_cast<int32_t>(plan_->parameters.size()); ++p) {
    count_awaited(p);
  }
  const uint64_t next_slots = plan_->options.mode == CommitMode::kInPlace ? 0 : plan_->live_bytes;
  plan_->extra_peak_bytes = next_slots + kBookkeepingBytes + kBookkeepingPerSource * plan_->sources.size();
  plan_->hash = hash_plan(*plan_);
}

Result<std::shared_ptr<const Plan>> Plan::compile(const ModelDescription& model, const TensorCatalog& catalog,
                                                  const PlanOptions& options) {
  LW_ASSIGN(auto implementation, PlanCompiler(model, catalog, options).compile());
  std::shared_ptr<Plan> plan(new Plan);
  plan->implementation_ = std::move(implementation);
  return plan;
}

int64_t Plan::find(Role role, int64_t layer) const {
  const auto found = implementation_->roles.find(role_key(role, layer));
  return found == implementation_->roles.end() ? -1 : found->second;
}

}  // namespace liveweight
