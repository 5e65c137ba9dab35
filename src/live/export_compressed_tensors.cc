// compressed-tensors 0.20: int-quantized and float-quantized (codes one a byte), and pack-quantized (int4,
// eight to an I32 word, with `weight_shape`, and zero points packed along the rows).
#include <algorithm>
#include <cstring>

#include "live/export_writer.h"
#include "live/module_names.h"
#include "quantize/repack.h"

namespace liveweight {
namespace {

constexpr ExportFormat kFormat = ExportFormat::kCompressedTensors;

bool is_asymmetric(const Scheme& scheme) {
  return scheme.profile == Profile::kCompressedTensorsAsymmetric;
}

const char* compression_of(const Scheme& scheme) {
  if (scheme.element == Element::kInt4) return "pack-quantized";
  return scheme.element == Element::kInt8 ? "int-quantized" : "float-quantized";
}

const char* strategy_of(const Scheme& scheme) {
  switch (scheme.granularity) {
    case Granularity::kTensor:
      return "tensor";
    case Granularity::kRow:
      return "channel";
    case Granularity::kGroup:
      return "group";
    default:
      return "block";
  }
}

OrderedJson weights_of(const Scheme& scheme) {
  OrderedJson weights = {{"num_bits", scheme.element == Element::kInt4 ? 4 : 8},
                         {"type", scheme.element == Element::kE4M3 ? "float" : "int"},
                         {"symmetric", !is_asymmetric(scheme)},
                         {"strategy", strategy_of(scheme)},
                         {"group_size", nullptr},
                         {"block_structure", nullptr},
                         {"actorder", nullptr},
                         {"dynamic", false},
                         {"observer", "minmax"},
                         {"observer_kwargs", OrderedJson::object()}};
  if (scheme.granularity == Granularity::kGroup) weights["group_size"] = scheme.size;
  if (scheme.granularity == Granularity::kBlock) weights["block_structure"] = {scheme.size, scheme.size};
  return weights;
}

// Modules whose weights the configuration describes alike.
struct Group {
  OrderedJson weights;
  const char* compression;
  std::vector<std::string> targets;
};

std::vector<Group> groups_of(const std::vector<ExportModule>& modules) {
  std::vector<Group> groups;
  for (const ExportModule& module : modules) {
    if (!module.scheme.quantizes()) continue;
    OrderedJson weights = weights_of(module.scheme);
    auto group = std::find_if(groups.begin(), groups.end(),
                              [&](const Group& known) { return known.weights == weights; });
    if (group == groups.end()) {
      group = groups.insert(groups.end(), {std::move(weights), compression_of(module.scheme), {}});
    }
    group->targets.push_back(module.name);
  }
  return groups;
}

class CompressedTensorsWriter : public ExportWriter {
 public:
  Status check(const ExportMember& member) const override {
    const Scheme& scheme = member.scheme();
    if (has_floating_zero(scheme)) return cannot_hold(member, kFormat, "its zero points are integers");
    if (scheme.granularity == Granularity::kGroup && member.cols() % scheme.size != 0) {
      return cannot_hold(member, kFormat,
                         "groups of " + std::to_string(scheme.size) + " do not divide its " +
                             std::to_string(member.cols()) + " columns");
    }
    return {};
  }

  void add(const ExportMember& member, ExportContents& contents) const override {
    const std::string module = module_of(member.name);
    TensorView codes = member.codes();
    if (!member.scheme().quantizes()) {
      codes.shape = member.shape;
      contents.tensors.push_back(as_it_is(member.name, codes));
      return;
    }
    if (member.scheme().element == Element::kInt4) {
      // Rows of whole 32-bit words, code + 8, are what the slot holds already.
      codes.dtype = DType::kI32;
      codes.shape = {member.rows(), member.format->data.row_bytes / 4};
      contents.tensors.push_back(as_it_is(module + ".weight_packed", codes));
      add_shape(member, module, contents);
    } else {
      contents.tensors.push_back(as_it_is(member.name, codes));
    }
    TensorView scale = member.scale();
    if (member.scheme().granularity == Granularity::kTensor) scale.shape = {1};
    contents.tensors.push_back(as_it_is(module + ".weight_scale", scale));
    if (is_asymmetric(member.scheme())) add_zero_point(member, module, contents);
  }

  OrderedJson quantization_config(const std::vector<ExportModule>& modules) const override {
    std::vector<Group> groups = groups_of(modules);
    bool by_class = groups.size() == 1;
    for (const ExportModule& module : modules) {
      if (module.kind == ModuleKind::kEmbedding && module.scheme.quantizes()) by_class = false;
    }
    if (by_class) groups[0].targets = {"Linear"};
    OrderedJson config_groups = OrderedJson::object();
    std::string format = groups[0].compression;
    for (Group& group : groups) {
      if (group.compression != format) format = "mixed-precision";
      config_groups["group_" + std::to_string(config_groups.size())] = {{"targets", group.targets},
                                                                        {"weights", group.weights},
                                                                        {"input_activations", nullptr},
                                                                        {"output_activations", nullptr},
                                                                        {"format", group.compression}};
    }
    return {{"quant_method", "compressed-tensors"},   {"format", format},
            {"quantization_status", "compressed"},    {"global_compression_ratio", nullptr},
            {"ignore", unquantized_linears(modules)}, {"kv_cache_scheme", nullptr},
            {"config_groups", config_groups}};
  }

 private:
  static void add_shape(const ExportMember& member, const std::string& module, ExportContents& contents) {
    contents.tensors.push_back(made(module + ".weight_shape", DType::kI64, {2}, [shape = member.shape] {
      std::vector<std::byte> bytes(2 * sizeof(int64_t));
      std::memcpy(bytes.data(), shape.data(), bytes.size());
      return bytes;
    }));
  }

  static void add_zero_point(const ExportMember& member, const std::string& module,
                             ExportContents& contents) {
    const TensorView zero = member.zero_point();
    const Shape packed{(zero.shape[0] + 7) / 8, zero.shape[1]};
    contents.tensors.push_back(made(module + ".weight_zero_point", DType::kI32, packed, [zero] {
      return pack_zero_points(zero.data, zero.shape[0], zero.shape[1]);
    }));
  }
};

}  // namespace

std::unique_ptr<ExportWriter> compressed_tensors_writer() {
  return std::make_unique<CompressedTensorsWriter>();
}

}  // namespace liveweight
