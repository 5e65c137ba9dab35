#include "liveweight/quantization_config.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/json_nesting.h"
#include "quantize/config_rules.h"

namespace liveweight {
namespace {

constexpr size_t kLargestConfig = 16 << 20;
constexpr int64_t kMostFields = 1 << 17;  // an object in the order of its text looks fields up one by one

bool is_quantized_by_default(ModuleKind kind) {
  return kind == ModuleKind::kLinear || kind == ModuleKind::kExpert;
}

ParsedRules parse_rules(const Json& config, bool torchao_serialized) {
  const auto method = config.find("quant_method");
  if (method == config.end()) return parse_online_rules(config);
  if (!method->is_string()) return bad_field("quant_method", "a string", *method);
  const std::string name = *method;
  if (name == "fp8") return parse_fp8_rules(config);
  if (name == "compressed-tensors") return parse_compressed_tensors_rules(config);
  if (name == "torchao") return parse_torchao_rules(config, torchao_serialized);
  return fail(
      ErrorCode::kUnsupported,
      fmt::format(
          "quantization_config.quant_method: {} is not supported; known are fp8, compressed-tensors and "
          "torchao",
          name));
}

}  // namespace

std::string_view to_string(QuantizationCase quantization_case) {
  if (quantization_case == QuantizationCase::kOffline) return "offline";
  return quantization_case == QuantizationCase::kOnline ? "online" : "none";
}

QuantizationConfig::QuantizationConfig() : rules_(std::make_shared<const Rules>()) {}

QuantizationConfig QuantizationConfig::uniform(const Scheme& scheme) {
  QuantizationConfig config;
  if (!scheme.quantizes()) return config;
  config.rules_ =
      std::make_shared<const Rules>(Rules{QuantizationCase::kOnline, "online", {}, scheme, scheme});
  return config;
}

Result<QuantizationConfig> QuantizationConfig::parse(std::string_view text, bool torchao_serialized) {
  if (text.size() > kLargestConfig || std::count(text.begin(), text.end(), ':') > kMostFields ||
      nests_too_deep(text)) {
    return fail(ErrorCode::kInvalidArgument,
                "quantization_config: expected a small JSON object, got one too large or deep");
  }
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) {
    return fail(ErrorCode::kInvalidArgument,
                "quantization_config: expected a JSON object, got something else");
  }
  const auto nested = json.find("quantization_config");
  const bool wrapped = nested != json.end() && nested->is_object();
  LW_ASSIGN(Rules rules, parse_rules(wrapped ? *nested : json, torchao_serialized));
  QuantizationConfig config;
  config.rules_ = std::make_shared<const Rules>(std::move(rules));
  return config;
}

QuantizationCase QuantizationConfig::quantization_case() const {
  return rules_->quantization_case;
}
std::string QuantizationConfig::method() const {
  return rules_->method;
}

Result<Scheme> QuantizationConfig::scheme_for(const std::string& module, ModuleKind kind) const {
  if (kind == ModuleKind::kOther) return Scheme{};
  for (const Rules::Rule& rule : rules_->rules) {
    LW_ASSIGN(const bool fits, rule.pattern.fits(module, kind));
    if (fits) return rule.scheme;
  }
  if (!is_quantized_by_default(kind)) return Scheme{};
  return kind == ModuleKind::kExpert ? rules_->expert : rules_->linear;
}

Result<ModulePattern> ModulePattern::parse(std::string_view entry) {
  ModulePattern pattern;
  pattern.text_ = entry;
  if (entry.starts_with("re:")) {
    LW_ASSIGN(pattern.regex_, Regex::compile(entry.substr(3)));
  }
  return pattern;
}

Result<ModulePattern> ModulePattern::whole(std::string_view expression, std::string suffix) {
  LW_TRY(Regex::compile(expression));
  ModulePattern pattern;
  LW_ASSIGN(pattern.regex_, Regex::compile(fmt::format("(?:{})\\z", expression)));
  pattern.suffix_ = std::move(suffix);
  return pattern;
}

Result<bool> ModulePattern::fits(const std::string& module, ModuleKind kind) const {
  if (regex_) return regex_->matches_at_start(module + suffix_);
  if (text_ == "Linear")
    return kind == ModuleKind::kLinear || kind == ModuleKind::kExpert || kind == ModuleKind::kHead;
  if (module == text_ || module.starts_with(text_ + ".")) return true;
  return module.ends_with("." + text_);
}

Status add_ignored(const Json& config, const char* field, QuantizationConfig::Rules& rules) {
  const auto found = config.find(field);
  if (found == config.end() || found->is_null()) return {};
  if (!found->is_array()) return bad_field(field, "a list of names", *found);
  for (const Json& entry : *found) {
    if (!entry.is_string()) return bad_field(field, "a list of names", entry);
    LW_ASSIGN(ModulePattern pattern, ModulePattern::parse(entry.get_ref<const std::string&>()));
    rules.rules.push_back({std::move(pattern), Scheme{}});
  }
  return {};
}

tl::unexpected<Error> bad_field(const std::string& field, const std::string& expected, const Json& got) {
  std::string text = got.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("quantization_config.{}: expected {}, got {}", field, expected, text), {field});
}

Result<bool> flag_at(const Json& config, const char* field, bool otherwise) {
  const auto found = config.find(field);
  if (found == config.end() || found->is_null()) return otherwise;
  if (!found->is_boolean()) return bad_field(field, "true or false", *found);
  return found->get<bool>();
}

std::string text_at(const Json& object, const char* field) {
  const auto found = object.find(field);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

Result<int64_t> positive_integer(const Json& value, const std::string& field) {
  constexpr int64_t kLargest = 1 << 20;
  if (!value.is_number_integer()) return bad_field(field, "a positive integer", value);
  const auto number = value.get<int64_t>();
  if (number < 1 || number > kLargest) return bad_field(field, "a positive integer", value);
  return number;
}

}  // namespace liveweight
