// A configuration as an ordered list of rules: the first that fits a module decides.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/regex.h"
#include "liveweight/quantization_config.h"

namespace liveweight {

// A module's exact name, a name that it lies below, its last component, a `re:` pattern (matched at the
// start, as Python's re.match), or a class of modules ("Linear").
class ModulePattern {
 public:
  static Result<ModulePattern> parse(std::string_view entry);
  // An expression that must fit the whole of a module's name with `suffix` after it, as Python's
  // re.fullmatch.
  static Result<ModulePattern> whole(std::string_view expression, std::string suffix);
  Result<bool> fits(const std::string& module, ModuleKind kind) const;

 private:
  std::string text_;
  std::string suffix_;
  std::optional<Regex> regex_;
};

struct QuantizationConfig::Rules {
  struct Rule {
    ModulePattern pattern;
    Scheme scheme;
  };
  QuantizationCase quantization_case = QuantizationCase::kNone;
  std::string method = "none";
  std::vector<Rule> rules;  // in order
  Scheme linear;            // where no rule fits
  Scheme expert;
};

// In the order of the text, as the first rule that fits decides.
using Json = nlohmann::ordered_json;
using ParsedRules = Result<QuantizationConfig::Rules>;

// One for each spelling.
ParsedRules parse_online_rules(const Json& config);
ParsedRules parse_fp8_rules(const Json& config);
ParsedRules parse_compressed_tensors_rules(const Json& config);
ParsedRules parse_torchao_rules(const Json& config, bool serialized);

// Shared by them. Entries of `field`, a list of strings (or null or absent), become rules that skip.
Status add_ignored(const Json& config, const char* field, QuantizationConfig::Rules& rules);
Result<bool> flag_at(const Json& config, const char* field, bool otherwise);
std::string text_at(const Json& object, const char* field);  // empty where there is none
Result<int64_t> positive_integer(const Json& value, const std::string& field);
tl::unexpected<Error> bad_field(const std::string& field, const std::string& expected, const Json& got);

}  // namespace liveweight
