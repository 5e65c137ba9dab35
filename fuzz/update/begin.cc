// Beginning updates, with options that fit and that do not.
#include "fuzz/update/sequence.h"

namespace liveweight::fuzz {

void Sequence::begin(UpdateOptions options) {
  options.reader_timeout = kNoWait;
  options.label = fmt::format("after {}", expected_.number);
  const bool partial = options.deltas || !options.scope.empty();
  const bool stale = options.base_version && *options.base_version != (visible() ? expected_.number : 0);
  const bool impossible =
      (partial && !expected_.current) || (options.deltas && mode_ == CommitMode::kInPlace);
  bool unknown = false;
  std::set<std::string> scope;
  for (const std::string& entry : options.scope) unknown |= !add_to_scope(entry, scope);
  const bool refused = open() || stale || impossible || unknown || pinned_other();
  auto update = live_->begin_update(options);
  // Where one scale covers several tensors, a scope has to name them all.
  if (!update && !refused)
    require(!options.scope.empty() && update.error().code == ErrorCode::kInvalidArgument,
            update.error().message);
  require(!update || !refused, "an update begins only where it may");
  if (!update) require_refusal(update.error());
  if (!update) return check();
  update_.emplace(std::move(*update));
  pending_ = {};
  kept_.clear();
  if (expected_.current) pending_.next = expected_.current->weights;
  if (!expected_.current) pending_.next = subject_.versions[0];
  pending_.label = options.label;
  pending_.deltas = options.deltas;
  pending_.optional = options.deltas && options.scope.empty();
  pending_.promised = options.expected_digest;
  pending_.scope = scope;
  if (options.scope.empty()) pending_.scope.insert(names_.begin(), names_.end());

  pending_.doubtful = tied_ && !options.scope.empty();
  expected_.written_since = true;
  check();
}

// A tensor or a module; false where there is none of that name.
bool Sequence::add_to_scope(const std::string& entry, std::set<std::string>& scope) const {
  bool found = false;
  for (const std::string& name : names_) {
    if (name != entry && !name.starts_with(entry + ".")) continue;
    scope.insert(name);
    found = true;
  }
  const bool alias = tied_ && (entry == kAlias || entry == "lm_head");
  if (alias) scope.insert(kTied);
  return found || alias;
}

void Sequence::begin_with_options() {
  UpdateOptions options;
  options.deltas = input_.ConsumeBool();
  if (input_.ConsumeBool()) {
    const char* const kModules[] = {"model.layers.0",    "model",   "model.layers.0.self_attn",
                                    "model.norm.weight", "lm_head", "model.layers.7"};
    options.scope = {input_.ConsumeBool() ? any_name() : std::string(input_.PickValueInArray(kModules))};
  }
  if (input_.ConsumeBool()) options.base_version = input_.ConsumeIntegralInRange<uint64_t>(0, 3);
  if (input_.ConsumeIntegral<uint8_t>() < 32) options.expected_digest = subject_.cold(any_version());
  begin(options);
}

}  // namespace liveweight::fuzz
