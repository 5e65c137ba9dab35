#include "model/rope_config.h"

#include <fmt/format.h>

namespace liveweight {
namespace {

Result<RopeParameters::Type> read_type(ConfigReader& scaling) {
  const std::string name = scaling.text("rope_type", scaling.text("type", "default"));
  if (name == "default") return RopeParameters::Type::kDefault;
  if (name == "linear") return RopeParameters::Type::kLinear;
  if (name == "llama3") return RopeParameters::Type::kLlama3;
  return fail(
      ErrorCode::kUnsupported,
      fmt::format("config.json: rope_type: {} is not supported; known are default, linear and llama3", name));
}

// Of the field's own spelling, wherever that stands: beside the dimensions or in an object.
void read_rotation(ConfigReader& reader, RopeParameters& rope) {
  rope.theta = reader.number("rope_theta", rope.theta);
  rope.partial_rotary_factor = reader.number("partial_rotary_factor", rope.partial_rotary_factor);
  if (rope.theta <= 0) reader.reject("rope_theta", "a positive number");
  if (rope.partial_rotary_factor <= 0 || rope.partial_rotary_factor > 1) {
    reader.reject("partial_rotary_factor", "a number above 0 and at most 1");
    rope.partial_rotary_factor = 1;
  }
}

}  // namespace

Result<RopeParameters> read_rope(ConfigReader& reader, double default_theta, int64_t max_position) {
  RopeParameters rope;
  rope.theta = default_theta;
  read_rotation(reader, rope);
  const char* field = reader.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  if (!reader.has(field)) return rope;
  const nlohmann::json& object = reader.object()[field];
  if (!object.is_object()) {
    reader.reject(field, "an object");
    return rope;
  }
  ConfigReader scaling(object);
  LW_ASSIGN(rope.type, read_type(scaling));
  read_rotation(scaling, rope);
  rope.factor = scaling.number("factor", 1.0);
  rope.low_freq_factor = scaling.number("low_freq_factor", 1.0);
  rope.high_freq_factor = scaling.number("high_freq_factor", 4.0);
  rope.original_max_position = scaling.count("original_max_position_embeddings", max_position);
  if (rope.factor <= 0) scaling.reject("factor", "a positive number");
  if (rope.type == RopeParameters::Type::kLlama3 && rope.high_freq_factor <= rope.low_freq_factor) {
    scaling.reject("high_freq_factor", "a number above low_freq_factor");
  }
  LW_TRY(scaling.status());
  return rope;
}

}  // namespace liveweight
