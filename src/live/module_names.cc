#include "live/module_names.h"

namespace liveweight {

std::string module_of(const std::string& tensor) {
  const size_t dot = tensor.rfind('.');
  return dot == std::string::npos ? tensor : tensor.substr(0, dot);
}

ModuleKind module_kind(Role role) {
  switch (role) {
    case Role::kQkv:
    case Role::kOutput:
    case Role::kGateUp:
    case Role::kDown:
      return ModuleKind::kLinear;
    case Role::kExpertsGateUp:
    case Role::kExpertsDown:
      return ModuleKind::kExpert;
    case Role::kEmbedding:
      return ModuleKind::kEmbedding;
    case Role::kHead:
      return ModuleKind::kHead;
    case Role::kRouter:
      return ModuleKind::kRouter;
    default:
      return ModuleKind::kOther;
  }
}

}  // namespace liveweight
