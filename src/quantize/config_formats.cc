// The spellings of quantization_config, each read into rules; torchao's are in config_torchao.cc.
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

// [n, n]: the edge of square blocks.
Result<int64_t> block_edge(const Json& value, const std::string& field) {
  if (!value.is_array() || value.size() != 2) return bad_field(field, "two equal sizes", value);
  LW_ASSIGN(const int64_t rows, positive_integer(value[0], field));
  LW_ASSIGN(const int64_t cols, positive_integer(value[1], field));
  if (rows != cols) return bad_field(field, "two equal sizes", value);
  return rows;
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
    LW_ASSIGN(scheme.size,
              positive_integer(weights.value("group_size", Json()), "config_groups.weights.group_size"));
  }
  if (scheme.granularity == Granularity::kBlock) {
    LW_ASSIGN(scheme.size,
              block_edge(weights.value("block_structure", Json()), "config_groups.weights.block_structure"));
  }
  LW_ASSIGN(const bool symmetric, flag_at(weights, "symmetric", true));
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
  LW_ASSIGN(const bool serialized, flag_at(config, "is_checkpoint_fp8_serialized", true));
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

}  // namespace liveweight
