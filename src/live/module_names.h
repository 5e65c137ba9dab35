// Which module a checkpoint tensor belongs to, and of what kind a parameter's module is.
#pragma once

#include <string>

#include "liveweight/model.h"
#include "liveweight/quantization_config.h"

namespace liveweight {

// "model.layers.0.mlp.down_proj" of "model.layers.0.mlp.down_proj.weight".
std::string module_of(const std::string& tensor);

ModuleKind module_kind(Role role);

}  // namespace liveweight
