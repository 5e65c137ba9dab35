// DeepSeek's block fp8: `weight` and `weight_scale_inv` (w = code * scale), F32, one scale for each 128 x 128
// block of a checkpoint tensor, smaller blocks at its edges.
#include "live/export_writer.h"
#include "live/module_names.h"
#include "quantize/repack.h"

namespace liveweight {
namespace {

constexpr int64_t kBlockEdge = 128;

class Fp8Writer : public ExportWriter {
 public:
  Status check(const ExportMember& member) const override {
    const Scheme& scheme = member.scheme();
    const bool blocks = scheme.granularity == Granularity::kBlock && scheme.size == kBlockEdge;
    if (scheme.element != Element::kE4M3 || !blocks) {
      return cannot_hold(member, ExportFormat::kFp8, "it holds fp8_per_block only");
    }
    if (member.kind == ModuleKind::kEmbedding) {
      return cannot_hold(member, ExportFormat::kFp8, "it holds linear layers only");
    }
    return {};
  }

  void add(const ExportMember& member, ExportContents& contents) const override {
    TensorView codes = member.codes();
    codes.shape = member.shape;
    contents.tensors.push_back(as_it_is(member.name, codes));
    if (!member.scheme().quantizes()) return;
    const TensorView scale = member.scale();
    const std::string name = member.name + "_scale_inv";
    if (scale.dtype == DType::kF32) {
      contents.tensors.push_back(as_it_is(name, scale));
    } else {
      contents.tensors.push_back(made(name, DType::kF32, scale.shape, [scale] {
        return widen(scale.dtype, scale.data, element_count(scale.shape));
      }));
    }
  }

  OrderedJson quantization_config(const std::vector<ExportModule>& modules) const override {
    return {{"quant_method", "fp8"},
            {"fmt", "e4m3"},
            {"activation_scheme", "dynamic"},
            {"weight_block_size", {kBlockEdge, kBlockEdge}},
            {"modules_to_not_convert", unquantized_linears(modules)}};
  }
};

}  // namespace

std::unique_ptr<ExportWriter> fp8_writer() {
  return std::make_unique<Fp8Writer>();
}

}  // namespace liveweight
