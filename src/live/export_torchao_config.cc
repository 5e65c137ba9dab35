#include "live/export_torchao.h"

namespace liveweight {
namespace {

OrderedJson typed(const char* type, const OrderedJson& data) {
  return {{"_type", type}, {"_data", data}};
}

OrderedJson granularity_json(const Scheme& scheme) {
  const OrderedJson nothing = OrderedJson::object();
  return scheme.granularity == Granularity::kTensor ? torchao_object("PerTensor", 1, nothing)
                                                    : torchao_object("PerRow", 1, {{"dim", -1}});
}

OrderedJson intx_json(const Scheme& scheme) {
  const bool int4 = scheme.element == Element::kInt4;
  const bool asymmetric = scheme.profile == Profile::kCompressedTensorsAsymmetric;
  return torchao_object("IntxWeightOnlyConfig", 2,
                        {{"weight_dtype", typed("torch.dtype", int4 ? "int4" : "int8")},
                         {"granularity", int4 ? torchao_object("PerGroup", 1, {{"group_size", scheme.size}})
                                              : torchao_object("PerAxis", 1, {{"axis", 0}})},
                         {"mapping_type", typed("MappingType", asymmetric ? "ASYMMETRIC" : "SYMMETRIC")},
                         {"scale_dtype", nullptr},
                         {"intx_packing_format", typed("IntxPackingFormat", "UNPACKED_TO_INT8")},
                         {"intx_choose_qparams_algorithm", typed("IntxChooseQParamsAlgorithm", "AFFINE")}});
}

// The only configuration of torchao's that has 128 x 128 blocks.
OrderedJson block_json() {
  const OrderedJson fp8 = typed("torch.dtype", "float8_e4m3fn");
  const auto block = [](int64_t rows) {
    return torchao_object("PerBlock", 1, {{"block_size", OrderedJson::array({rows, 128})}});
  };
  const OrderedJson mm = {{"emulate", false}, {"use_fast_accum", false}, {"pad_inner_dim", false}};
  return torchao_object("Float8DynamicActivationFloat8WeightConfig", 2,
                        {{"activation_dtype", fp8},
                         {"weight_dtype", fp8},
                         {"granularity", OrderedJson::array({block(1), block(128)})},
                         {"packing_format", typed("Float8PackingFormat", "PLAIN")},
                         {"mm_config", torchao_object("Float8MMConfig", 1, mm)},
                         {"activation_value_lb", nullptr},
                         {"activation_value_ub", nullptr},
                         {"kernel_preference", typed("KernelPreference", "AUTO")},
                         {"set_inductor_config", true},
                         {"alg_id", 0}});
}

}  // namespace

OrderedJson torchao_object(const char* type, int version, const OrderedJson& data) {
  return {{"_type", type}, {"_version", version}, {"_data", data}};
}

TorchaoClass torchao_class(const Scheme& scheme) {
  if (scheme.element == Element::kE4M3) return TorchaoClass::kFloat8;
  if (scheme.element == Element::kInt8) {
    return scheme.profile == Profile::kTorchaoIntx ? TorchaoClass::kIntx : TorchaoClass::kInt8;
  }
  return has_floating_zero(scheme) ? TorchaoClass::kInt4 : TorchaoClass::kIntx;
}

OrderedJson torchao_config(const Scheme& scheme) {
  switch (torchao_class(scheme)) {
    case TorchaoClass::kInt8:
      return torchao_object("Int8WeightOnlyConfig", 2,
                            {{"group_size", nullptr},
                             {"granularity", granularity_json(scheme)},
                             {"set_inductor_config", true}});
    case TorchaoClass::kIntx:
      return intx_json(scheme);
    case TorchaoClass::kInt4:
      return torchao_object(
          "Int4WeightOnlyConfig", 2,
          {{"group_size", scheme.size},
           {"set_inductor_config", true},
           {"int4_packing_format", typed("Int4PackingFormat", "PLAIN")},
           {"int4_choose_qparams_algorithm", typed("Int4ChooseQParamsAlgorithm", "TINYGEMM")},
           {"int4_tile_packed_ntile", 8}});
    case TorchaoClass::kFloat8:
      break;
  }
  if (scheme.granularity == Granularity::kBlock) return block_json();
  return torchao_object("Float8WeightOnlyConfig", 2,
                        {{"weight_dtype", typed("torch.dtype", "float8_e4m3fn")},
                         {"set_inductor_config", true},
                         {"granularity", granularity_json(scheme)}});
}

}  // namespace liveweight
