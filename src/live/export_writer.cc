#include "live/export_writer.h"

#include <fmt/format.h>

namespace liveweight {

void ExportWriter::finish(const std::vector<ExportMember>&, ExportContents&) const {}

ExportFormat default_export_format(const std::vector<ExportMember>& members) {
  bool blocks_only = true;
  for (const ExportMember& member : members) {
    const Scheme& scheme = member.scheme();
    if (!scheme.quantizes()) continue;
    if (has_floating_zero(scheme)) return ExportFormat::kTorchao;
    if (scheme.granularity != Granularity::kBlock) blocks_only = false;
  }
  return blocks_only ? ExportFormat::kFp8 : ExportFormat::kCompressedTensors;
}

ExportTensor as_it_is(std::string name, const TensorView& view) {
  return {std::move(name), view, {}};
}

ExportTensor made(std::string name, DType dtype, Shape shape, std::function<std::vector<std::byte>()> make) {
  const uint64_t bytes = bytes_of(dtype, static_cast<uint64_t>(element_count(shape))).value_or(0);
  return {std::move(name), {dtype, std::move(shape), nullptr, bytes}, std::move(make)};
}

tl::unexpected<Error> cannot_hold(const ExportMember& member, ExportFormat format, const std::string& why) {
  return fail(ErrorCode::kUnsupported,
              fmt::format("tensor {}: the format {} cannot hold {}: {}", member.name, to_string(format),
                          to_string(member.scheme()), why),
              {member.name});
}

bool has_floating_zero(const Scheme& scheme) {
  return scheme.element == Element::kInt4 &&
         (scheme.profile == Profile::kTorchao || scheme.profile == Profile::kTorchaoTinygemm);
}

std::vector<std::string> unquantized_linears(const std::vector<ExportModule>& modules) {
  std::vector<std::string> names;
  for (const ExportModule& module : modules) {
    if (module.kind != ModuleKind::kEmbedding && !module.scheme.quantizes()) names.push_back(module.name);
  }
  return names;
}

}  // namespace liveweight
