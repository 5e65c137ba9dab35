// torchao's quant_type: the configuration classes that it serializes, alone or by module name.
#include <fmt/format.h>

#include "quantize/config_rules.h"

namespace liveweight {
namespace {

using Rules = QuantizationConfig::Rules;

tl::unexpected<Error> unsupported(const std::string& what) {
  return fail(ErrorCode::kUnsupported,
              fmt::format("quantization_config.quant_type: {} is not supported", what));
}

// A name as {"_type": ..., "_data": "NAME"} or a string.
std::string enum_at(const Json& data, const char* field) {
  const Json value = data.value(field, Json());
  return value.is_object() ? text_at(value, "_data") : value.is_string() ? value.get<std::string>() : "";
}

// A granularity is {"_type": "PerRow", ...}, a list of those (activation, weight), or a string. Absent, it is
// a row.
Json granularity_at(const Json& data) {
  Json value = data.value("granularity", Json());
  if (value.is_array() && !value.empty()) value = Json(value.back());
  if (value.is_string()) return {{"_type", value}};
  return value.is_object() ? value : Json{{"_type", "PerRow"}};
}

bool is_type(const Json& object, std::string_view name) {
  return text_at(object, "_type").find(name) != std::string::npos;
}

// `serialized`: weights that lie quantized in the checkpoint, so that how they were made does not matter.
Result<Scheme> int8_scheme(const Json& data, bool serialized) {
  const Json granularity = granularity_at(data);
  if (is_type(granularity, "PerTensor") && serialized) {
    return Scheme{Element::kInt8, Granularity::kTensor, 0, Profile::kCompressedTensors};
  }
  if (is_type(granularity, "PerRow") && data.value("group_size", Json()).is_null()) {
    return Scheme{Element::kInt8, Granularity::kRow, 0, Profile::kTorchao};
  }
  return unsupported("torchao's int8 by " + text_at(granularity, "_type"));
}

Result<Scheme> float8_scheme(const Json& data) {
  const Json granularity = granularity_at(data);
  Scheme scheme{Element::kE4M3, Granularity::kRow, 0, Profile::kTorchao};
  if (is_type(granularity, "PerTensor")) scheme.granularity = Granularity::kTensor;
  if (is_type(granularity, "PerBlock")) scheme.granularity = Granularity::kBlock, scheme.size = 128;
  if (is_type(granularity, "PerGroup")) return unsupported("torchao's fp8 by PerGroup");
  const std::string type = enum_at(data, "weight_dtype");
  if (!type.empty() && type.find("float8_e4m3fn") == std::string::npos) {
    return unsupported("torchao's weight_dtype " + type);
  }
  return scheme;
}

Result<Scheme> int4_scheme(const Json& data, bool serialized) {
  const Json group = data.value("group_size", Json());
  Scheme scheme{Element::kInt4, Granularity::kGroup, 128, Profile::kTorchao};
  if (!group.is_null()) {
    LW_ASSIGN(scheme.size, positive_integer(group, "quant_type.group_size"));
  }
  const std::string packing = enum_at(data, "int4_packing_format");
  if (serialized && !packing.empty() && packing != "PLAIN" && packing != "plain") {
    return unsupported("torchao's int4 packing format " + packing);
  }
  return scheme;
}

Result<Scheme> intx_scheme(const Json& data, bool serialized) {
  const Json granularity = granularity_at(data);
  const Json sizes = granularity.value("_data", Json::object());
  const std::string type = enum_at(data, "weight_dtype");
  if (!serialized && enum_at(data, "mapping_type") == "ASYMMETRIC") {
    return unsupported("torchao's IntxWeightOnlyConfig with mapping_type ASYMMETRIC");
  }
  if (type == "int8" && is_type(granularity, "PerAxis")) {
    return Scheme{Element::kInt8, Granularity::kRow, 0, Profile::kTorchaoIntx};
  }
  if (type == "int4" && is_type(granularity, "PerGroup") && sizes.is_object()) {
    LW_ASSIGN(const int64_t size,
              positive_integer(sizes.value("group_size", Json()), "quant_type.granularity.group_size"));
    return Scheme{Element::kInt4, Granularity::kGroup, size, Profile::kTorchaoIntx};
  }
  return unsupported(
      fmt::format("torchao's IntxWeightOnlyConfig of {} by {}", type, text_at(granularity, "_type")));
}

Result<Scheme> torchao_scheme(const Json& config, bool serialized) {
  if (config.is_null()) return Scheme{};
  if (!config.is_object()) return bad_field("quant_type", "a torchao configuration", config);
  const std::string type = text_at(config, "_type");
  Json data = config.value("_data", Json::object());
  if (!data.is_object()) data = Json::object();
  if (type.starts_with("Int8WeightOnly") || type.starts_with("Int8DynamicActivationInt8Weight")) {
    return int8_scheme(data, serialized);
  }
  if (type.starts_with("Float8WeightOnly") || type.starts_with("Float8DynamicActivationFloat8Weight")) {
    return float8_scheme(data);
  }
  if (type.starts_with("Int4WeightOnly")) return int4_scheme(data, serialized);
  if (type.starts_with("IntxWeightOnly")) return intx_scheme(data, serialized);
  return unsupported("torchao's " + (type.empty() ? "(none)" : type));
}

// Which entries of FqnToConfig come in a pass over them: names or patterns, of parameters or of modules.
struct TorchaoPass {
  bool pattern;
  std::string_view suffix;
};

Result<std::optional<ModulePattern>> torchao_pattern(std::string_view name, const TorchaoPass& pass) {
  if (name == "_default" || name.starts_with("re:") != pass.pattern) return std::nullopt;
  if (pass.pattern) return ModulePattern::whole(name.substr(3), std::string(pass.suffix));
  if (name.ends_with(".weight") == pass.suffix.empty()) return std::nullopt;
  return ModulePattern::parse(name.substr(0, name.size() - pass.suffix.size()));
}

// torchao's own order of precedence: parameters' names, modules' names, patterns of parameters, of modules,
// `_default`.
Status add_by_name(const Json& by_name, bool serialized, Rules& rules) {
  for (const TorchaoPass& pass : {TorchaoPass{false, ".weight"}, TorchaoPass{false, ""},
                                  TorchaoPass{true, ".weight"}, TorchaoPass{true, ""}}) {
    for (const auto& [name, config] : by_name.items()) {
      LW_ASSIGN(std::optional<ModulePattern> pattern, torchao_pattern(name, pass));
      if (!pattern) continue;
      LW_ASSIGN(const Scheme scheme, torchao_scheme(config, serialized));
      rules.rules.push_back({std::move(*pattern), scheme});
    }
  }
  LW_ASSIGN(rules.linear, torchao_scheme(by_name.value("_default", Json()), serialized));
  rules.expert = rules.linear;
  return {};
}

}  // namespace

ParsedRules parse_torchao_rules(const Json& config, bool serialized) {
  Rules rules;
  rules.method = "torchao";
  LW_ASSIGN(const bool offline, flag_at(config, "is_checkpoint_torchao_serialized", serialized));
  rules.quantization_case = offline ? QuantizationCase::kOffline : QuantizationCase::kOnline;
  LW_TRY(add_ignored(config, "modules_to_not_convert", rules));
  const Json type = config.value("quant_type", Json());
  if (!type.is_object()) return bad_field("quant_type", "an object with `default`", type);
  const Json chosen = type.value("default", Json());
  const std::string name = chosen.is_object() ? text_at(chosen, "_type") : "";
  if (name == "FqnToConfig" || name == "ModuleFqnToConfig") {
    const Json data = chosen.value("_data", Json::object());
    const char* field = name == "FqnToConfig" ? "fqn_to_config" : "module_fqn_to_config";
    const Json by_name = data.is_object() ? data.value(field, Json()) : Json();
    if (!by_name.is_object())
      return bad_field("quant_type.default._data", "an object of configuration by name", data);
    LW_TRY(add_by_name(by_name, offline, rules));
    return rules;
  }
  LW_ASSIGN(rules.linear, torchao_scheme(chosen, offline));
  rules.expert = rules.linear;
  return rules;
}

}  // namespace liveweight
