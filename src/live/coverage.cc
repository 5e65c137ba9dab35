#include "live/coverage.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "live/held_matrices.h"

namespace liveweight {
namespace {

constexpr size_t kNamesInMessage = 3;

bool fits(const std::string& name, const std::string& entry) {
  return name == entry ||
         (name.size() > entry.size() && name.starts_with(entry) && name[entry.size()] == '.');
}

// A tensor's scope is its fused sisters' too, where one scale covers them all.
Status check_held_together(const Plan::Implementation& plan, const std::vector<bool>& in_scope) {
  for (size_t p = 0; p < plan.parameters.size(); ++p) {
    const auto& members = plan.parameter_sources[p];
    const auto out = std::find_if(members.begin(), members.end(), [&](int32_t s) { return !in_scope[s]; });
    const auto in = std::find_if(members.begin(), members.end(), [&](int32_t s) { return in_scope[s]; });
    if (out == members.end() || in == members.end()) continue;
    const auto& targets = plan.sources[*in].targets;
    if (targets.empty() || !shares_scale(targets[0])) continue;
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("scope: {} is in it and {} is not, but one scale covers both in {}",
                            plan.sources[*in].name, plan.sources[*out].name, plan.parameters[p].name),
                {plan.sources[*in].name, plan.sources[*out].name});
  }
  return {};
}

}  // namespace

Coverage::Coverage(const Plan::Implementation& plan, std::vector<bool> in_scope, bool optional)
    : plan_(plan),
      in_scope_(std::move(in_scope)),
      optional_(optional),
      covered_(plan.sources.size()),
      whole_(plan.sources.size()),
      as_changes_(plan.sources.size()) {}

Result<std::unique_ptr<Coverage>> Coverage::create(const Plan::Implementation& plan,
                                                   const std::vector<std::string>& scope, bool deltas) {
  std::vector<bool> in_scope(plan.sources.size(), scope.empty());
  for (const std::string& entry : scope) {
    bool used = false;
    for (size_t i = 0; i < plan.sources.size(); ++i) {
      if (!fits(plan.sources[i].name, entry)) continue;
      in_scope[i] = used = true;
      if (plan.sources[i].alias_of >= 0) in_scope[plan.sources[i].alias_of] = true;
    }
    if (!used)
      return fail(ErrorCode::kUnknownTensor, fmt::format("scope: no tensor or module {}", entry), {entry});
  }
  for (const int32_t alias : plan.aliases) {
    if (in_scope[plan.sources[alias].alias_of]) in_scope[alias] = true;
  }
  if (!deltas) LW_TRY(check_held_together(plan, in_scope));
  return std::unique_ptr<Coverage>(new Coverage(plan, std::move(in_scope), deltas && scope.empty()));
}

Result<int32_t> Coverage::find(std::string_view name) const {
  const int32_t source = plan_.find_source(name);
  if (source < 0) {
    return fail(ErrorCode::kUnknownTensor, fmt::format("tensor {}: the model has none of that name", name),
                {std::string(name)});
  }
  if (!in_scope_[source]) {
    return fail(ErrorCode::kUnknownTensor, fmt::format("tensor {}: not in the scope of this update", name),
                {std::string(name)});
  }
  return source;
}

Status Coverage::add(int32_t source, std::span<const Piece> pieces) {
  const Source& facts = plan_.sources[source];
  Stripe& stripe = stripe_of(source);
  std::lock_guard lock(stripe.mutex);
  IntervalSet& covered = covered_[source];
  if (covered.empty() && !pieces.empty()) stripe.count(1, 0);
  for (const Piece& piece : pieces) {
    const bool whole_rows = piece.cols == facts.cols;
    const int64_t runs = whole_rows ? 1 : piece.rows;
    const int64_t length = whole_rows ? piece.rows * piece.cols : piece.cols;
    for (int64_t i = 0; i < runs; ++i) {
      const int64_t begin = (piece.row + i) * facts.cols + piece.col;
      if (covered.add(begin, begin + length)) continue;
      return fail(ErrorCode::kDuplicateTensor,
                  fmt::format("tensor {}: elements {} to {} came before", facts.name, begin, begin + length),
                  {facts.name});
    }
    stripe.count(0, static_cast<uint64_t>(piece.rows * piece.cols * element_bytes(facts)));
  }
  whole_[source] = !covered.first_gap(facts.rows * facts.cols);
  return {};
}

Status Coverage::add_changes(int32_t source, uint64_t bytes) {
  const Source& facts = plan_.sources[source];
  Stripe& stripe = stripe_of(source);
  std::lock_guard lock(stripe.mutex);
  const bool first = covered_[source].empty();
  if (!first || !covered_[source].add(0, facts.rows * facts.cols)) {
    return fail(ErrorCode::kDuplicateTensor, fmt::format("tensor {}: it came before", facts.name),
                {facts.name});
  }
  whole_[source] = as_changes_[source] = 1;
  stripe.count(1, bytes);
  return {};
}

bool Coverage::any(int32_t source) const {
  std::lock_guard lock(stripe_of(source).mutex);
  return !covered_[source].empty();
}

int64_t Coverage::tensors() const {
  int64_t sum = 0;
  for (const Stripe& stripe : stripes_) sum += stripe.tensors;
  return sum;
}

uint64_t Coverage::source_bytes() const {
  uint64_t sum = 0;
  for (const Stripe& stripe : stripes_) sum += stripe.source_bytes;
  return sum;
}

Status Coverage::require_ties_alike() const {
  for (const int32_t i : plan_.aliases) {
    const int32_t primary = plan_.sources[i].alias_of;
    if (covered_[i].empty() || covered_[primary].empty()) continue;
    if (as_changes_[i] == as_changes_[primary]) continue;
    const std::string &name = plan_.sources[i].name, &tied = plan_.sources[primary].name;
    return fail(
        ErrorCode::kUnsupported,
        fmt::format("tensor {}: it is another name of {}, but one of them came whole and the other as "
                    "changes; send one of the two",
                    name, tied),
        {name, tied});
  }
  return {};
}

Status Coverage::require_all() const {
  std::vector<bool> came_as_alias(plan_.sources.size());
  for (const int32_t alias : plan_.aliases) {
    if (!covered_[alias].empty()) came_as_alias[plan_.sources[alias].alias_of] = true;
  }
  std::vector<std::string> names, gaps;
  for (size_t i = 0; i < plan_.sources.size(); ++i) {
    if (whole_[i]) continue;
    const Source& source = plan_.sources[i];
    const bool may_miss = source.alias_of >= 0 || optional_;
    if (!in_scope_[i] || (covered_[i].empty() && (may_miss || came_as_alias[i]))) continue;
    const auto gap = covered_[i].first_gap(source.rows * source.cols);
    if (!gap) continue;
    names.push_back(source.name);
    gaps.push_back(covered_[i].empty()
                       ? source.name
                       : fmt::format("{} (elements {} to {})", source.name, gap->begin, gap->end));
  }
  if (names.empty()) return {};
  const size_t shown = std::min(gaps.size(), kNamesInMessage);
  const std::string more = gaps.size() > shown ? fmt::format(" and {} more", gaps.size() - shown) : "";
  std::string message = fmt::format("{} of {} tensors missing: {}{}", names.size(), plan_.sources.size(),
                                    fmt::join(gaps.begin(), gaps.begin() + shown, ", "), more);
  return fail(ErrorCode::kMissingTensor, std::move(message), std::move(names));
}

}  // namespace liveweight
