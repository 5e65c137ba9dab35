// The spellings of quantization_config, each read into rules.
#include <fmt/format.h>

#include "quantize/config_rules.h"

namespace liveweight {
namespace {

using Rules = QuantizationConfig::Rules;

Result<Scheme> scheme_at(const Json& value, const std::string& field) {
  if (value.is_null()) return Scheme{};
  if (!value.is_string()) return bad_field(field, "a scheme's name or null", value);
  auto scheme = parse_scheme(value.get_ref<const std::string&>());
  if (!scheme)
    scheme.error().message = fmt::format("quantization_config.{}: {}", field, scheme.error().message);
  return scheme;
}

Result<bool> flag(const Json& config, const char* field, bool otherwise) {
  const auto found = config.find(field);
  if (found == config.end() || found->is_null()) return otherwise;
  if (!found->is_boolean()) return bad_field(field, "true or false", *found);
  return found->get<bool>();
}

Result<int64_t> positive(const Json& value, const std::string& field) {
  constexpr int64_t kLargest = 1 << 20;
  if (!value.is_number_integer()) return bad_field(field, "a positive integer", value);
  const auto number = value.get<int64_t>();
  if (number < 1 || number > kLargest) return bad_field(field, "a positive integer", value);
  return number;
}

// [n, n]: the edge of square blocks.
Result<int64_t> block_edge(const Json& value, const std::string& field) {
  if (!value.is_array() || value.size() != 2) return bad_field(field, "two equal sizes", value);
  LW_ASSIGN(const int64_t rows, positive(value[0], field));
  LW_ASSIGN(const int64_t cols, positive(value[1], field));
  if (rows != cols) return bad_field(field, "two equal sizes", value);
  return rows;
}

std::string text_at(const Json& object, const char* field) {
  const auto found = object.find(field);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

Result<Granularity> granularity_of(const Json& weights) {
  const std::string strategy = text_at(weights, "strategy");
  if (strategy == "tensor") return Granularity::kTensor;
  if (strategy == "channel") return Granularity::kRow;
  if (strategy == "group") return Granularity::kGroup;
  if (strategy == "block") return Granularity::kBlock;
  return bad_field("config_groups.weights.strategy", "tensor, channel, group or block",
                   weights.value("strategy", Json()));
}

Result<Element> element_of(const Json& weights) {
  const std::string type = text_at(weights, "type");
  const Json bits = weights.value("num_bits", Json());
  if (type == "float" && bits == 8) return Element::kE4M3;
  if (type == "int" && bits == 8) return Element::kInt8;
  if (type == "int" && bits == 4) return Element::kInt4;
  return fail(ErrorCode::kUnsupported,
              fmt::format("quantization_config.config_groups.weights: {} bits of type {} are not supported",
                          bits.dump(), type.empty() ? "(none)" : type));
}

Result<Scheme> compressed_scheme(const Json& weights) {
  if (!weights.is_object()) return bad_field("config_groups.weights", "an object", weights);
  Scheme scheme;
  LW_ASSIGN(scheme.element, element_of(weights));
  LW_ASSIGN(scheme.granularity, granularity_of(weights));
  if (scheme.granularity == Granularity::kGroup) {
    LW_ASSIGN(scheme.size, positive(weights.value("group_size", Json()), "config_groups.weights.group_size"));
  }
  if (scheme.granularity == Granularity::kBlock) {
    LW_ASSIGN(scheme.size,
              block_edge(weights.value("block_structure", Json()), "config_groups.weights.block_structure"));
  }
  LW_ASSIGN(const bool symmetric, flag(weights, "symmetric", true));
  scheme.profile = symmetric ? Profile::kCompressedTensors : Profile::kCompressedTensorsAsymmetric;
  const bool int4 = scheme.element == Element::kInt4;
  if (int4 != (scheme.granularity == Granularity::kGroup) || (!symmetric && !int4)) {
    return fail(ErrorCode::kUnsupported,
                "quantization_config.config_groups.weights: supported are 8 bits by tensor, channel or "
                "block, and int4 by "
                "group; only int4 may be asymmetric");
  }
  return scheme;
}

Status add_group(const std::string& name, const Json& group, Rules& rules) {
  const std::string field = fmt::format("config_groups.{}", name);
  if (!group.is_object()) return bad_field(field, "an object", group);
  LW_ASSIGN(const Scheme scheme, compressed_scheme(group.value("weights", Json())));
  const Json targets = group.value("targets", Json::array({"Linear"}));
  if (!targets.is_array()) return bad_field(field + ".targets", "a list of names", targets);
  for (const Json& target : targets) {
    if (!target.is_string()) return bad_field(field + ".targets", "a list of names", target);
    LW_ASSIGN(ModulePattern pattern, ModulePattern::parse(target.get_ref<const std::string&>()));
    rules.rules.push_back({std::move(pattern), scheme});
  }
  return {};
}

// torchao writes a granularity as {"_type": "PerRow", ...}, a list of those (activation, weight), or an
// index.
Granularity torchao_granularity(const Json& data) {
  Json value = data.value("granularity", Json());
  if (value.is_array() && !value.empty()) value = value.back();
  const std::string type = value.is_object()   ? text_at(value, "_type")
                           : value.is_string() ? value.get<std::string>()
                                               : "";
  if (type.find("PerTensor") != std::string::npos) return Granularity::kTensor;
  if (type.find("PerBlock") != std::string::npos) return Granularity::kBlock;
  return Granularity::kRow;
}

Result<int64_t> torchao_group(const Json& data, const char* field, int64_t otherwise) {
  const auto found = data.find(field);
  return found == data.end() || found->is_null() ? Result<int64_t>(otherwise) : positive(*found, field);
}

Result<Scheme> torchao_scheme(const Json& config) {
  if (config.is_null()) return Scheme{};
  if (!config.is_object()) return bad_field("quant_type", "a torchao configuration", config);
  const std::string type = text_at(config, "_type");
  const Json data =
      config.contains("_data") && config["_data"].is_object() ? config["_data"] : Json::object();
  if (type.starts_with("Int8WeightOnly") || type.starts_with("Int8DynamicActivationInt8Weight")) {
    return Scheme{Element::kInt8, Granularity::kRow, 0, Profile::kTorchao};
  }
  if (type.starts_with("Float8WeightOnly") || type.starts_with("Float8DynamicActivationFloat8Weight")) {
    const Granularity granularity = torchao_granularity(data);
    return Scheme{Element::kE4M3, granularity, granularity == Granularity::kBlock ? 128 : 0,
                  Profile::kTorchao};
  }
  if (type.starts_with("Int4WeightOnly")) {
    LW_ASSIGN(const int64_t size, torchao_group(data, "group_size", 128));
    return Scheme{Element::kInt4, Granularity::kGroup, size, Profile::kTorchao};
  }
  return fail(ErrorCode::kUnsupported,
              fmt::format("quantization_config.quant_type: torchao's {} is not supported",
                          type.empty() ? "(none)" : type));
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
Status add_by_name(const Json& by_name, Rules& rules) {
  for (const TorchaoPass& pass : {TorchaoPass{false, ".weight"}, TorchaoPass{false, ""},
                                  TorchaoPass{true, ".weight"}, TorchaoPass{true, ""}}) {
    for (const auto& [name, config] : by_name.items()) {
      LW_ASSIGN(std::optional<ModulePattern> pattern, torchao_pattern(name, pass));
      if (!pattern) continue;
      LW_ASSIGN(const Scheme scheme, torchao_scheme(config));
      rules.rules.push_back({std::move(*pattern), scheme});
    }
  }
  LW_ASSIGN(rules.linear, torchao_scheme(by_name.value("_default", Json())));
  rules.expert = rules.linear;
  return {};
}

}  // namespace

ParsedRules parse_online_rules(const Json& config) {
  Rules rules;
  rules.quantization_case = QuantizationCase::kOnline;
  rules.method = "online";
  for (const auto& [key, value] : config.items()) {
    if (key != "linear" && key != "moe" && key != "ignore" && key != "targets") {
      return bad_field(key, "one of quant_method, linear, moe, ignore and targets", value);
    }
  }
  LW_TRY(add_ignored(config, "ignore", rules));
  const Json targets = config.value("targets", Json::object());
  if (!targets.is_object()) return bad_field("targets", "an object of scheme by module", targets);
  for (const auto& [name, value] : targets.items()) {
    LW_ASSIGN(const Scheme scheme, scheme_at(value, fmt::format("targets.{}", name)));
    LW_ASSIGN(ModulePattern pattern, ModulePattern::parse(name));
    rules.rules.push_back({std::move(pattern), scheme});
  }
  LW_ASSIGN(rules.linear, scheme_at(config.value("linear", Json()), "linear"));
  LW_ASSIGN(rules.expert, scheme_at(config.value("moe", config.value("linear", Json())), "moe"));
  return rules;
}

ParsedRules parse_fp8_rules(const Json& config) {
  Rules rules;
  rules.method = "fp8";
  LW_ASSIGN(const bool serialized, flag(config, "is_checkpoint_fp8_serialized", true));
  rules.quantization_case = serialized ? QuantizationCase::kOffline : QuantizationCase::kOnline;
  LW_TRY(add_ignored(config, "modules_to_not_convert", rules));
  LW_TRY(add_ignored(config, "ignored_layers", rules));
  const Json block = config.value("weight_block_size", Json());
  if (block.is_null()) {
    if (rules.quantization_case == QuantizationCase::kOffline) {
      return fail(ErrorCode::kUnsupported,
                  "quantization_config.weight_block_size: fp8 checkpoints without blocks are not supported");
    }
    rules.linear = Scheme{Element::kE4M3, Granularity::kTensor, 0, Profile::kVllm};
  } else {
    LW_ASSIGN(const int64_t edge, block_edge(block, "weight_block_size"));
    rules.linear = Scheme{Element::kE4M3, Granularity::kBlock, edge, Profile::kVllm};
  }
  rules.expert = rules.linear;
  return rules;
}

ParsedRules parse_compressed_tensors_rules(const Json& config) {
  Rules rules;
  rules.method = "compressed-tensors";
  const std::string status = text_at(config, "quantization_status");
  rules.quantization_case = status.empty() || status == "compressed" || status == "frozen"
                                ? QuantizationCase::kOffline
                                : QuantizationCase::kOnline;
  LW_TRY(add_ignored(config, "ignore", rules));
  const Json groups = config.value("config_groups", Json());
  if (!groups.is_object() || groups.empty()) return bad_field("config_groups", "an object of groups", groups);
  for (const auto& [name, group] : groups.items()) LW_TRY(add_group(name, group, rules));
  return rules;
}

ParsedRules parse_torchao_rules(const Json& config) {
  Rules rules;
  rules.method = "torchao";
  LW_ASSIGN(const bool serialized, flag(config, "is_checkpoint_torchao_serialized", false));
  rules.quantization_case = serialized ? QuantizationCase::kOffline : QuantizationCase::kOnline;
  LW_TRY(add_ignored(config, "modules_to_not_convert", rules));
  const Json type = config.value("quant_type", Json());
  if (!type.is_object()) return bad_field("quant_type", "an object with `default`", type);
  const Json chosen = type.value("default", Json());
  const std::string name = chosen.is_object() ? text_at(chosen, "_type") : "";
  if (name == "FqnToConfig" || name == "ModuleFqnToConfig") {
    const Json data = chosen.value("_data", Json::object());
    Json by_name = data.is_object()
                       ? data.value(name == "FqnToConfig" ? "fqn_to_config" : "module_fqn_to_config", Json())
                       : Json();
    if (!by_name.is_object())
      return bad_field("quant_type.default._data", "an object of configuration by name", data);
    LW_TRY(add_by_name(by_name, rules));
    return rules;
  }
  LW_ASSIGN(rules.linear, torchao_scheme(chosen));
  rules.expert = rules.linear;
  return rules;
}

}  // namespace liveweight
