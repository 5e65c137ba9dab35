#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/json_nesting.h"
#include "liveweight/model.h"
#include "model/architecture.h"
#include "model/config_reader.h"
#include "model/rope_config.h"

namespace liveweight {
namespace {

constexpr int64_t kLargestDimension = 1 << 24;
constexpr int64_t kMostLayers = 10'000;
constexpr int64_t kMostExpertsInAll = 1 << 20;

Result<nlohmann::json> parse_object(std::string_view text, const char* file) {
  auto json = parse_shallow<nlohmann::json>(text);
  if (json.is_object()) return json;
  return fail(ErrorCode::kBadCheckpoint, fmt::format("{}: expected a JSON object, got something else", file),
              {file});
}

// The text of a field with its own fields in their order, which matters to rules. The text was
// parsed before, so this cannot fail.
std::string field_in_order(std::string_view text, const char* field) {
  return nlohmann::ordered_json::parse(text)[field].dump();
}

Result<Architecture> find_architecture(const nlohmann::json& json) {
  std::string name;
  const auto list = json.find("architectures");
  if (list != json.end() && list->is_array() && !list->empty() && (*list)[0].is_string()) name = (*list)[0];
  const auto type = json.find("model_type");
  const std::string model_type = type != json.end() && type->is_string() ? type->get<std::string>() : "";
  std::string known;
  for (const Architecture& architecture : architectures()) {
    if (name.empty() ? architecture.model_type == model_type : architecture.name == name) return architecture;
    known += known.empty() ? architecture.name : ", " + architecture.name;
  }
  return fail(ErrorCode::kUnsupported,
              fmt::format("config.json: architectures: {} is not supported; known are {}",
                          name.empty() ? "model_type " + model_type : name, known));
}

DType read_dtype(ConfigReader& reader) {
  const char* field = reader.has("dtype") ? "dtype" : "torch_dtype";
  const std::string name = reader.text(field, "bfloat16");
  if (name == "bfloat16") return DType::kBF16;
  if (name == "float16") return DType::kF16;
  if (name == "float32") return DType::kF32;
  reader.reject(field, "bfloat16, float16 or float32");
  return DType::kBF16;
}

// One id or a list of them; null and absent mean none.
std::vector<int32_t> read_ids(ConfigReader& reader, const char* field) {
  std::vector<int32_t> ids;
  if (!reader.has(field)) return ids;
  const nlohmann::json& value = reader.object()[field];
  const nlohmann::json list = value.is_array() ? value : nlohmann::json::array({value});
  for (const auto& id : list) {
    const bool good = id.is_number_unsigned() && id.get<uint64_t>() <= INT32_MAX;
    if (good) ids.push_back(id.get<int32_t>());
    if (!good) reader.reject(field, "a token's id, or a list of them");
  }
  return ids;
}

void read_dimensions(ConfigReader& reader, const ArchitectureDefaults& defaults, ModelConfig& config) {
  const auto dimension = [&](const char* field) {
    const int64_t value = reader.required_count(field);
    if (value > kLargestDimension) reader.reject(field, fmt::format("at most {}", kLargestDimension));
    return std::clamp<int64_t>(value, 1, kLargestDimension);
  };
  config.vocab_size = dimension("vocab_size");
  config.hidden_size = dimension("hidden_size");
  config.intermediate_size = dimension("intermediate_size");
  config.layers = dimension("num_hidden_layers");
  config.heads = dimension("num_attention_heads");
  config.kv_heads = reader.count("num_key_value_heads", config.heads, 1, config.heads);
  const int64_t head_dim =
      defaults.head_dim ? defaults.head_dim : std::max<int64_t>(1, config.hidden_size / config.heads);
  config.head_dim = reader.count("head_dim", head_dim, 1, 65536);
  if (!reader.has("head_dim") && !defaults.head_dim && config.hidden_size % config.heads != 0) {
    reader.reject("num_attention_heads", fmt::format("a divisor of hidden_size ({})", config.hidden_size));
  }
  config.max_position = reader.count("max_position_embeddings", defaults.max_position);
  config.rms_norm_eps = reader.number("rms_norm_eps", defaults.rms_norm_eps);
  if (config.rms_norm_eps < 0) reader.reject("rms_norm_eps", "a number from 0 on");
  config.tied = reader.flag("tie_word_embeddings", defaults.tied);
  if (config.layers > kMostLayers) {
    reader.reject("num_hidden_layers", fmt::format("at most {}", kMostLayers));
    config.layers = 1;
  }
  if (config.heads % config.kv_heads != 0) {
    reader.reject("num_key_value_heads", fmt::format("a divisor of num_attention_heads ({})", config.heads));
  }
  if (config.head_dim % 2 != 0) reader.reject("head_dim", "an even number");
}

}  // namespace

Result<ModelConfig> parse_model_config(std::string_view config_json) {
  LW_ASSIGN(const nlohmann::json json, parse_object(config_json, "config.json"));
  LW_ASSIGN(const Architecture architecture, find_architecture(json));
  ConfigReader reader(json);
  ModelConfig config;
  config.architecture = architecture.name;
  config.model_type = architecture.model_type;
  config.dtype = read_dtype(reader);
  read_dimensions(reader, architecture.defaults, config);
  LW_ASSIGN(config.rope, read_rope(reader, architecture.defaults.rope_theta, config.max_position));
  const auto rotating =
      static_cast<int64_t>(static_cast<double>(config.head_dim) * config.rope.partial_rotary_factor);
  if (rotating % 2 != 0 || rotating < 2)
    reader.reject("partial_rotary_factor", "an even number of rotating dimensions");
  const std::string activation = reader.text("hidden_act", "silu");
  if (activation != "silu") {
    return fail(ErrorCode::kUnsupported,
                fmt::format("config.json: hidden_act: {} is not supported, only silu", activation));
  }
  architecture.configure(reader, config);
  if (config.experts * config.layers > kMostExpertsInAll) {
    reader.reject(reader.has("num_experts") ? "num_experts" : "num_local_experts",
                  fmt::format("at most {} in all layers", kMostExpertsInAll));
  }
  config.eos_token_ids = read_ids(reader, "eos_token_id");
  const std::vector<int32_t> bos = read_ids(reader, "bos_token_id");
  if (!bos.empty()) config.bos_token_id = bos[0];
  if (reader.has("quantization_config"))
    config.quantization_config = field_in_order(config_json, "quantization_config");
  LW_TRY(reader.status());
  return config;
}

Status apply_generation_config(std::string_view text, ModelConfig& config) {
  if (text.empty()) return {};
  LW_ASSIGN(const nlohmann::json json, parse_object(text, "generation_config.json"));
  ConfigReader reader(json);
  const std::vector<int32_t> ids = read_ids(reader, "eos_token_id");
  LW_TRY(reader.status());
  if (!ids.empty()) config.eos_token_ids = ids;
  return {};
}

}  // namespace liveweight
