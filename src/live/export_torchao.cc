// torchao 0.18's tensor subclasses, flattened into safetensors as its safetensors_support does: the parts of
// `m.weight` are `m._weight_qdata`, `m._weight_scale` and `m._weight_zero_point`; the class and its
// attributes are JSON in the metadata, spelled as Python spells it.
#include <fmt/format.h>

#include "live/export_writer.h"
#include "live/module_names.h"
#include "quantize/repack.h"

namespace liveweight {
namespace {

constexpr ExportFormat kFormat = ExportFormat::kTorchao;

enum class TensorClass { kInt8, kIntx, kInt4, kFloat8 };

TensorClass class_of(const Scheme& scheme) {
  if (scheme.element == Element::kE4M3) return TensorClass::kFloat8;
  if (scheme.element == Element::kInt8) {
    return scheme.profile == Profile::kTorchaoIntx ? TensorClass::kIntx : TensorClass::kInt8;
  }
  return has_floating_zero(scheme) ? TensorClass::kInt4 : TensorClass::kIntx;
}

const char* torch_dtype(DType dtype) {
  return dtype == DType::kBF16 ? "bfloat16" : dtype == DType::kF16 ? "float16" : "float32";
}

// The shape of the elements that share a scale.
std::pair<int64_t, int64_t> block_of(const ExportMember& member) {
  const Scheme& scheme = member.scheme();
  switch (scheme.granularity) {
    case Granularity::kTensor:
      return {member.rows(), member.cols()};
    case Granularity::kRow:
      return {1, member.cols()};
    case Granularity::kGroup:
      return {1, scheme.size};
    default:
      return {scheme.size, scheme.size};
  }
}

std::string class_metadata(const ExportMember& member) {
  const auto [rows, cols] = block_of(member);
  const std::string block = fmt::format("[{}, {}]", rows, cols);
  const auto dtype = [](const char* name) {
    return fmt::format(R"({{"_type": "torch.dtype", "_data": "{}"}})", name);
  };
  const std::string source = dtype(torch_dtype(member.format->source_dtype));
  switch (class_of(member.scheme())) {
    case TensorClass::kInt8:
      return fmt::format(R"({{"_type": "Int8Tensor", "_data": {{"act_quant_kwargs": null, )"
                         R"("reduce_range": false, "block_size": {}, "dtype": {}}}, )"
                         R"("_tensor_data_names": ["zero_point", "qdata", "scale"]}})",
                         block, source);
    case TensorClass::kIntx:
      return fmt::format(R"({{"_type": "IntxUnpackedToInt8Tensor", "_data": {{"target_dtype": {}, )"
                         R"("block_size": {}, "dtype": {}, "activation_quantization": null}}, )"
                         R"("_tensor_data_names": ["qdata", "scale", "zero_point"]}})",
                         dtype(member.scheme().element == Element::kInt4 ? "int4" : "int8"), block, source);
    case TensorClass::kInt4:
      return fmt::format(R"({{"_type": "Int4Tensor", "_data": {{"activation_dtype": {}, )"
                         R"("block_size": {}, "shape": [{}, {}]}}, )"
                         R"("_tensor_data_names": ["qdata", "scale", "zero_point"]}})",
                         dtype("bfloat16"), block, member.rows(), member.cols());
    case TensorClass::kFloat8:
      return fmt::format(R"({{"_type": "Float8Tensor", "_data": {{"block_size": {}, "mm_config": null, )"
                         R"("act_quant_kwargs": null, "kernel_preference": {{"_type": "KernelPreference", )"
                         R"("_data": "AUTO"}}, "dtype": {}}}, "_tensor_data_names": ["qdata", "scale"]}})",
                         block, source);
  }
  return {};
}

OrderedJson typed(const char* type, const OrderedJson& data) {
  return {{"_type", type}, {"_data", data}};
}

OrderedJson versioned(const char* type, int version, const OrderedJson& data) {
  return {{"_type", type}, {"_version", version}, {"_data", data}};
}

OrderedJson granularity_json(const Scheme& scheme) {
  const OrderedJson nothing = OrderedJson::object();
  return scheme.granularity == Granularity::kTensor ? versioned("PerTensor", 1, nothing)
                                                    : versioned("PerRow", 1, {{"dim", -1}});
}

OrderedJson intx_json(const Scheme& scheme) {
  const bool int4 = scheme.element == Element::kInt4;
  const bool asymmetric = scheme.profile == Profile::kCompressedTensorsAsymmetric;
  return versioned("IntxWeightOnlyConfig", 2,
                   {{"weight_dtype", typed("torch.dtype", int4 ? "int4" : "int8")},
                    {"granularity", int4 ? versioned("PerGroup", 1, {{"group_size", scheme.size}})
                                         : versioned("PerAxis", 1, {{"axis", 0}})},
                    {"mapping_type", typed("MappingType", asymmetric ? "ASYMMETRIC" : "SYMMETRIC")},
                    {"scale_dtype", nullptr},
                    {"intx_packing_format", typed("IntxPackingFormat", "UNPACKED_TO_INT8")},
                    {"intx_choose_qparams_algorithm", typed("IntxChooseQParamsAlgorithm", "AFFINE")}});
}

// The only configuration of torchao's that has 128 x 128 blocks.
OrderedJson block_json() {
  const OrderedJson fp8 = typed("torch.dtype", "float8_e4m3fn");
  const auto block = [](int64_t rows) {
    return versioned("PerBlock", 1, {{"block_size", OrderedJson::array({rows, 128})}});
  };
  const OrderedJson mm = {{"emulate", false}, {"use_fast_accum", false}, {"pad_inner_dim", false}};
  return versioned("Float8DynamicActivationFloat8WeightConfig", 2,
                   {{"activation_dtype", fp8},
                    {"weight_dtype", fp8},
                    {"granularity", OrderedJson::array({block(1), block(128)})},
                    {"packing_format", typed("Float8PackingFormat", "PLAIN")},
                    {"mm_config", versioned("Float8MMConfig", 1, mm)},
                    {"activation_value_lb", nullptr},
                    {"activation_value_ub", nullptr},
                    {"kernel_preference", typed("KernelPreference", "AUTO")},
                    {"set_inductor_config", true},
                    {"alg_id", 0}});
}

OrderedJson scheme_json(const Scheme& scheme) {
  switch (class_of(scheme)) {
    case TensorClass::kInt8:
      return versioned("Int8WeightOnlyConfig", 2,
                       {{"group_size", nullptr},
                        {"granularity", granularity_json(scheme)},
                        {"set_inductor_config", true}});
    case TensorClass::kIntx:
      return intx_json(scheme);
    case TensorClass::kInt4:
      return versioned("Int4WeightOnlyConfig", 2,
                       {{"group_size", scheme.size},
                        {"set_inductor_config", true},
                        {"int4_packing_format", typed("Int4PackingFormat", "PLAIN")},
                        {"int4_choose_qparams_algorithm", typed("Int4ChooseQParamsAlgorithm", "TINYGEMM")},
                        {"int4_tile_packed_ntile", 8}});
    case TensorClass::kFloat8:
      break;
  }
  if (scheme.granularity == Granularity::kBlock) return block_json();
  return versioned("Float8WeightOnlyConfig", 2,
                   {{"weight_dtype", typed("torch.dtype", "float8_e4m3fn")},
                    {"set_inductor_config", true},
                    {"granularity", granularity_json(scheme)}});
}

class TorchaoWriter : public ExportWriter {
 public:
  Status check(const ExportMember& member) const override {
    if (member.kind == ModuleKind::kExpert) {
      return cannot_hold(member, kFormat, "nothing that reads the format looks for routed experts in it");
    }
    const auto [rows, cols] = block_of(member);
    if (member.rows() % rows != 0 || member.cols() % cols != 0) {
      return cannot_hold(
          member, kFormat,
          fmt::format("blocks of [{}, {}] do not divide its shape {}", rows, cols, to_string(member.shape)));
    }
    if (class_of(member.scheme()) == TensorClass::kInt4 && member.cols() % 2 != 0) {
      return cannot_hold(member, kFormat, "two codes share a byte, so its columns must be even");
    }
    return {};
  }

  void add(const ExportMember& member, ExportContents& contents) const override {
    TensorView codes = member.codes();
    if (!member.scheme().quantizes()) {
      codes.shape = member.shape;
      contents.tensors.push_back(as_it_is(member.name, codes));
      contents.metadata[member.name] = R"({"_type": "Tensor"})";
      return;
    }
    contents.metadata[member.name] = class_metadata(member);
    const std::string stem = module_of(member.name) + "._weight_";
    switch (class_of(member.scheme())) {
      case TensorClass::kInt8:
        contents.tensors.push_back(as_it_is(stem + "qdata", codes));
        add_scale(stem, member.scale(), contents);
        add_zeros(stem, member.scale().shape, contents);
        break;
      case TensorClass::kIntx:
        add_intx(stem, member, contents);
        break;
      case TensorClass::kInt4:
        add_int4(stem, member, contents);
        break;
      case TensorClass::kFloat8:
        contents.tensors.push_back(as_it_is(stem + "qdata", codes));
        add_scale(stem, member.scale(), contents);
        break;
    }
  }

  void finish(const std::vector<ExportMember>& members, ExportContents& contents) const override {
    std::string names;
    for (const ExportMember& member : members) {
      names += fmt::format("{}\"{}\"", names.empty() ? "" : ", ", member.name);
    }
    contents.metadata["tensor_names"] = "[" + names + "]";
  }

  OrderedJson quantization_config(const std::vector<ExportModule>& modules) const override {
    OrderedJson config = {{"quant_method", "torchao"},
                          {"quant_type", {{"default", quant_type(modules)}}},
                          {"modules_to_not_convert", unquantized_linears(modules)},
                          {"include_input_output_embeddings", false},
                          {"untie_embedding_weights", false}};
    for (const ExportModule& module : modules) {
      const bool embedding = module.kind == ModuleKind::kEmbedding || module.kind == ModuleKind::kHead;
      if (embedding && module.scheme.quantizes()) config["include_input_output_embeddings"] = true;
    }
    return config;
  }

 private:
  // One configuration for all linear layers where that says it, else one a module.
  static OrderedJson quant_type(const std::vector<ExportModule>& modules) {
    OrderedJson only, by_name = OrderedJson::object();
    bool alike = true;
    for (const ExportModule& module : modules) {
      if (!module.scheme.quantizes()) continue;
      OrderedJson scheme = scheme_json(module.scheme);
      const bool by_default = module.kind == ModuleKind::kLinear || module.kind == ModuleKind::kExpert;
      if (only.is_null()) only = scheme;
      if (!by_default || only != scheme) alike = false;
      by_name[module.name] = std::move(scheme);
    }
    if (alike) return only;
    by_name["_default"] = nullptr;
    return versioned("FqnToConfig", 1, {{"fqn_to_config", by_name}, {"module_fqn_to_config", by_name}});
  }

  static void add_scale(const std::string& stem, const TensorView& scale, ExportContents& contents) {
    if (scale.dtype == DType::kF32) {
      contents.tensors.push_back(as_it_is(stem + "scale", scale));
      return;
    }
    contents.tensors.push_back(made(stem + "scale", DType::kF32, scale.shape, [scale] {
      return widen(scale.dtype, scale.data, element_count(scale.shape));
    }));
  }

  static void add_zeros(const std::string& stem, const Shape& shape, ExportContents& contents) {
    contents.tensors.push_back(made(stem + "zero_point", DType::kI8, shape, [shape] {
      return std::vector<std::byte>(static_cast<size_t>(element_count(shape)));
    }));
  }

  static Int4Rows int4_rows(const ExportMember& member) {
    return {member.codes().data, member.rows(), member.cols(), member.format->data.row_bytes};
  }

  static void add_intx(const std::string& stem, const ExportMember& member, ExportContents& contents) {
    if (member.scheme().element == Element::kInt4) {
      contents.tensors.push_back(made(stem + "qdata", DType::kI8, member.shape,
                                      [rows = int4_rows(member)] { return unpack_int4(rows); }));
    } else {
      contents.tensors.push_back(as_it_is(stem + "qdata", member.codes()));
    }
    contents.tensors.push_back(as_it_is(stem + "scale", member.scale()));
    if (member.format->zero_point.bytes > 0) {
      contents.tensors.push_back(as_it_is(stem + "zero_point", member.zero_point()));
    } else {
      add_zeros(stem, member.scale().shape, contents);
    }
  }

  static void add_int4(const std::string& stem, const ExportMember& member, ExportContents& contents) {
    contents.tensors.push_back(made(stem + "qdata", DType::kI8, {member.rows(), member.cols() / 2},
                                    [rows = int4_rows(member)] { return pair_int4(rows); }));
    for (const auto& [name, view] :
         {std::pair("scale", member.scale()), {"zero_point", member.zero_point()}}) {
      const Shape transposed{view.shape[1], view.shape[0]};
      contents.tensors.push_back(made(stem + name, view.dtype, transposed, [view = view] {
        return transpose(view.data, view.shape[0], view.shape[1], bits_of(view.dtype) / 8);
      }));
    }
  }
};

}  // namespace

std::unique_ptr<ExportWriter> torchao_writer() {
  return std::make_unique<TorchaoWriter>();
}

}  // namespace liveweight
