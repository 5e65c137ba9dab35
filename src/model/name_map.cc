#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "base/json_nesting.h"
#include "base/regex.h"
#include "liveweight/model.h"

namespace liveweight {
namespace {

// Components that wrappers put into names: torch.compile, FSDP, DDP, and trainers that hold several models.
constexpr std::array<std::string_view, 4> kWrappers = {"_fsdp_wrapped_module", "_orig_mod", "module",
                                                       "actor"};

bool is_wrapper(std::string_view component) {
  for (const std::string_view wrapper : kWrappers) {
    if (component == wrapper) return true;
  }
  return false;
}

// By a loop of its own: components are too short for a call that looks for each dot.
bool has_wrapper(std::string_view name) {
  size_t begin = 0;
  for (size_t i = 0; i < name.size(); ++i) {
    if (name[i] != '.') continue;
    if (is_wrapper(name.substr(begin, i - begin))) return true;
    begin = i + 1;
  }
  return false;
}

std::string strip_wrappers(std::string_view name) {
  std::string out;
  while (!name.empty()) {
    const size_t dot = name.find('.');
    const std::string_view component = name.substr(0, dot);
    const bool last = dot == std::string_view::npos;
    if (last || !is_wrapper(component)) {
      if (!out.empty()) out += '.';
      out += component;
    }
    name = last ? std::string_view{} : name.substr(dot + 1);
  }
  return out;
}

}  // namespace

struct NameMap::Rules {
  Regex pattern;
  std::string replacement;
};

NameMap::NameMap() = default;
NameMap::~NameMap() = default;
NameMap::NameMap(const NameMap&) = default;
NameMap& NameMap::operator=(const NameMap&) = default;

Result<NameMap> NameMap::parse(std::string_view text) {
  const auto bad = [](const std::string& what) {
    return fail(ErrorCode::kInvalidArgument,
                "name map: expected a list of [regular expression, replacement]" + what);
  };
  const auto json = parse_shallow<nlohmann::json>(text);
  if (!json.is_array()) return bad("");
  NameMap map;
  for (size_t i = 0; i < json.size(); ++i) {
    const auto& rule = json[i];
    if (!rule.is_array() || rule.size() != 2 || !rule[0].is_string() || !rule[1].is_string()) {
      return bad(fmt::format(", got something else at [{}]", i));
    }
    auto pattern = Regex::compile(rule[0].get_ref<const std::string&>());
    if (!pattern) return bad(fmt::format(" at [{}]: {}", i, pattern.error().message));
    map.rules_.push_back(
        std::make_shared<const Rules>(Rules{std::move(*pattern), rule[1].get<std::string>()}));
  }
  return map;
}

Result<std::string> NameMap::canonical(std::string_view name) const {
  std::string storage;
  LW_ASSIGN(const std::string_view mapped, canonical(name, storage));
  return std::string(mapped);
}

std::function<Result<std::string>(std::string_view)> NameMap::as_function() const {
  return [this](std::string_view name) { return canonical(name); };
}

Result<std::string_view> NameMap::canonical(std::string_view name, std::string& storage) const {
  if (rules_.empty() && !has_wrapper(name)) return name;
  storage = name;
  for (const auto& rule : rules_) {
    LW_ASSIGN(storage, rule->pattern.replace_all(storage, rule->replacement));
  }
  if (has_wrapper(storage)) storage = strip_wrappers(storage);
  return storage;
}

bool is_ignored_tensor(std::string_view name) {
  return name.ends_with(".rotary_emb.inv_freq");
}

}  // namespace liveweight
