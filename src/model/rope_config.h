// Rotary embedding's fields, in the spelling of transformers 4 (`rope_theta`, `rope_scaling`) and 5
// (`rope_parameters`).
#pragma once

#include "liveweight/model.h"
#include "model/config_reader.h"

namespace liveweight {

Result<RopeParameters> read_rope(ConfigReader& reader, double default_theta, int64_t max_position);

}  // namespace liveweight
