// torchao 0.18's tensor subclasses, flattened into safetensors as its safetensors_support does: the parts of
// `m.weight` are `m._weight_qdata`, `m._weight_scale` and `m._weight_zero_point`; the class and its
// attributes are JSON in the metadata, spelled as Python spells it.
#include <fmt/format.h>

#include "live/export_torchao.h"
#include "live/module_names.h"
#include "quantize/repack.h"

namespace liveweight {
namespace {

constexpr ExportFormat kFormat = ExportFormat::kTorchao;

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
  switch (torchao_class(member.scheme())) {
    case TorchaoClass::kInt8:
      return fmt::format(R"({{"_type": "Int8Tensor", "_data": {{"act_quant_kwargs": null, )"
                         R"("reduce_range": false, "block_size": {}, "dtype": {}}}, )"
                         R"("_tensor_data_names": ["zero_point", "qdata", "scale"]}})",
                         block, source);
    case TorchaoClass::kIntx:
      return fmt::format(R"({{"_type": "IntxUnpackedToInt8Tensor", "_data": {{"target_dtype": {}, )"
                         R"("block_size": {}, "dtype": {}, "activation_quantization": null}}, )"
                         R"("_tensor_data_names": ["qdata", "scale", "zero_point"]}})",
                         dtype(member.scheme().element == Element::kInt4 ? "int4" : "int8"), block, source);
    case TorchaoClass::kInt4:
      return fmt::format(R"({{"_type": "Int4Tensor", "_data": {{"activation_dtype": {}, )"
                         R"("block_size": {}, "shape": [{}, {}]}}, )"
                         R"("_tensor_data_names": ["qdata", "scale", "zero_point"]}})",
                         dtype("bfloat16"), block, member.rows(), member.cols());
    case TorchaoClass::kFloat8:
      return fmt::format(R"({{"_type": "Float8Tensor", "_data": {{"block_size": {}, "mm_config": null, )"
                         R"("act_quant_kwargs": null, "kernel_preference": {{"_type": "KernelPreference", )"
                         R"("_data": "AUTO"}}, "dtype": {}}}, "_tensor_data_names": ["qdata", "scale"]}})",
                         block, source);
  }
  return {};
}

class TorchaoWriter : public ExportWriter {
 public:
  Status check(const ExportMember& member) const override {
    if (member.kind == ModuleKind::kExpert) {
      return cannot_hold(member, kFormat, "nothing that reads the format looks for routed experts in it");
    }
    if (member.scheme().granularity == Granularity::kBlock && member.scheme().size != 128) {
      return cannot_hold(member, kFormat, "its blocks are 128 x 128");
    }
    const auto [rows, cols] = block_of(member);
    if (member.rows() % rows != 0 || member.cols() % cols != 0) {
      return cannot_hold(
          member, kFormat,
          fmt::format("blocks of [{}, {}] do not divide its shape {}", rows, cols, to_string(member.shape)));
    }
    if (torchao_class(member.scheme()) == TorchaoClass::kInt4 && member.cols() % 2 != 0) {
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
    switch (torchao_class(member.scheme())) {
      case TorchaoClass::kInt8:
        contents.tensors.push_back(as_it_is(stem + "qdata", codes));
        add_scale(stem, member.scale(), contents);
        add_zeros(stem, member.scale().shape, contents);
        break;
      case TorchaoClass::kIntx:
        add_intx(stem, member, contents);
        break;
      case TorchaoClass::kInt4:
        add_int4(stem, member, contents);
        break;
      case TorchaoClass::kFloat8:
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
      OrderedJson scheme = torchao_config(module.scheme);
      const bool by_default = module.kind == ModuleKind::kLinear || module.kind == ModuleKind::kExpert;
      if (only.is_null()) only = scheme;
      if (!by_default || only != scheme) alike = false;
      by_name[module.name] = std::move(scheme);
    }
    if (alike) return only;
    by_name["_default"] = nullptr;
    return torchao_object("FqnToConfig", 1, {{"fqn_to_config", by_name}, {"module_fqn_to_config", by_name}});
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
