// torchao's tensor class and configuration for a scheme.
#pragma once

#include "live/export_writer.h"

namespace liveweight {

enum class TorchaoClass : uint8_t { kInt8, kIntx, kInt4, kFloat8 };

TorchaoClass torchao_class(const Scheme& scheme);

// {"_type", "_version", "_data"}, as torchao.core.config writes an object.
OrderedJson torchao_object(const char* type, int version, const OrderedJson& data);

// The configuration whose weights are held as that class, as config_to_dict writes it.
OrderedJson torchao_config(const Scheme& scheme);

}  // namespace liveweight
