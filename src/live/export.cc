#include "liveweight/export.h"

#include <fmt/format.h>

#include "live/export_directory.h"
#include "live/export_shards.h"
#include "live/export_writer.h"

namespace liveweight {
namespace {

std::unique_ptr<ExportWriter> writer_of(ExportFormat format) {
  switch (format) {
    case ExportFormat::kFp8:
      return fp8_writer();
    case ExportFormat::kTorchao:
      return torchao_writer();
    default:
      return compressed_tensors_writer();
  }
}

Status check_members(const ExportWriter& writer, const std::vector<ExportMember>& members,
                     const std::filesystem::path& source) {
  bool any = false;
  for (const ExportMember& member : members) {
    if (!member.scheme().quantizes()) continue;
    any = true;
    LW_TRY(writer.check(member));
  }
  if (any) return {};
  return fail(
      ErrorCode::kInvalidArgument,
      fmt::format("{}: expected a scheme that quantizes something to export, got none", source.string()),
      {source.string()});
}

// config.json with the format's quantization_config, and all else as it was; a head that got weights of its
// own is no longer tied.
Status write_config(const std::filesystem::path& source, const std::filesystem::path& out,
                    const OrderedJson& quantization, bool untied) {
  LW_ASSIGN(const std::string text, read_text_file(source / "config.json"));
  OrderedJson config = OrderedJson::parse(text, nullptr, false);
  if (!config.is_object()) {
    return fail(ErrorCode::kBadCheckpoint, "config.json: expected a JSON object, got something else",
                {"config.json"});
  }
  if (untied) config["tie_word_embeddings"] = false;
  config["quantization_config"] = quantization;
  const std::string changed = config.dump(2, ' ', false, OrderedJson::error_handler_t::replace);
  return write_text_file(out / "config.json", changed + "\n");
}

ExportContents contents_of(const ExportWriter& writer, const std::vector<ExportMember>& members) {
  ExportContents contents;
  for (const ExportMember& member : members) writer.add(member, contents);
  writer.finish(members, contents);
  return contents;
}

}  // namespace

Result<ExportFormat> parse_export_format(std::string_view name) {
  for (const ExportFormat format :
       {ExportFormat::kFp8, ExportFormat::kCompressedTensors, ExportFormat::kTorchao}) {
    if (to_string(format) == name) return format;
  }
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("format: expected fp8, compressed-tensors or torchao, got {}", name));
}

std::string_view to_string(ExportFormat format) {
  switch (format) {
    case ExportFormat::kFp8:
      return "fp8";
    case ExportFormat::kTorchao:
      return "torchao";
    default:
      return "compressed-tensors";
  }
}

Result<ExportReport> export_quantized(const ModelDirectory& directory, const std::filesystem::path& out,
                                      const ExportOptions& options) {
  const std::filesystem::path& source = directory.checkpoint.directory();
  if (options.quantization.quantization_case() == QuantizationCase::kOffline) {
    return fail(ErrorCode::kUnsupported,
                fmt::format("{}: its weights are quantized already ({}); expected high precision to export",
                            source.string(), options.quantization.method()),
                {source.string()});
  }
  LW_ASSIGN(const auto plan, Plan::compile(directory.description, directory.catalog,
                                           {options.quantization, {}, CommitMode::kInPlace}));
  std::vector<ExportMember> members = export_members(directory.description, *plan, nullptr);
  const ExportFormat format = options.format.value_or(default_export_format(members));
  const std::unique_ptr<ExportWriter> writer = writer_of(format);
  LW_TRY(check_members(*writer, members, source));
  LW_ASSIGN(ExportDirectory written, ExportDirectory::create(out, source));

  LW_ASSIGN(const auto model, LiveModel::create(plan));
  LW_TRY(reload(*model, directory.checkpoint, options.names));
  LW_ASSIGN(const Snapshot snapshot, model->pin());
  members = export_members(directory.description, *plan, &snapshot.table());
  const ExportContents contents = contents_of(*writer, members);
  ExportReport report{format, plan->source_bytes(), 0, static_cast<int64_t>(contents.tensors.size()), 0};
  for (const ExportTensor& tensor : contents.tensors) report.bytes += tensor.view.bytes;
  LW_ASSIGN(report.files, write_shards(written.path(), contents, options.shard_bytes));
  LW_TRY(write_config(source, written.path(), writer->quantization_config(export_modules(*plan, members)),
                      unties_head(*plan)));
  LW_TRY(written.copy_companions(source));
  LW_TRY(written.publish());
  return report;
}

}  // namespace liveweight
