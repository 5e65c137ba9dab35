#include "live/export_members.h"

#include <unordered_map>

#include "live/module_names.h"
#include "quantize/unit_layout.h"

namespace liveweight {
namespace {

constexpr const char* kHeadName = "lm_head.weight";

TensorView rows_of(const ExportMember& member, const Part& part, int64_t row, int64_t rows) {
  TensorView view{part.dtype, {rows, part.cols}, nullptr, static_cast<uint64_t>(rows * part.row_bytes)};
  if (member.slot) view.data = member.slot + row_offset(part, member.matrix, row);
  return view;
}

int64_t scale_rows(const ExportMember& member) {
  const int64_t edge = member.scheme().size;
  switch (member.scheme().granularity) {
    case Granularity::kTensor:
      return 1;
    case Granularity::kBlock:
      return (member.rows() + edge - 1) / edge;
    default:
      return member.rows();
  }
}

TensorView units_of(const ExportMember& member, const Part& part) {
  const int64_t row = scale_row_of(*member.format, member.segment, member.segment.source_row);
  return rows_of(member, part, row, scale_rows(member));
}

}  // namespace

TensorView ExportMember::codes() const {
  return rows_of(*this, format->data, segment.row, segment.rows);
}
TensorView ExportMember::scale() const {
  return units_of(*this, format->scale);
}
TensorView ExportMember::zero_point() const {
  return units_of(*this, format->zero_point);
}

bool unties_head(const Plan& plan) {
  return plan.config().tied && plan.find(Role::kHead, -1) != plan.find(Role::kEmbedding, -1);
}

std::vector<ExportMember> export_members(const ModelDescription& model, const Plan& plan,
                                         const BindingTable* table) {
  std::unordered_map<std::string, const ParameterDescription*> described;
  for (const ParameterDescription& parameter : model.parameters) described[parameter.name] = &parameter;
  std::vector<ExportMember> members;
  for (size_t p = 0; p < plan.parameters().size(); ++p) {
    const PlannedParameter& planned = plan.parameters()[p];
    int64_t matrix = -1;
    size_t index = 0;
    for (const Member& member : described.at(planned.name)->members) {
      if (member.matrix != matrix) index = 0;
      matrix = member.matrix;
      ExportMember entry{member.name, member.shape, module_kind(planned.role),        planned.format.get(),
                         nullptr,     matrix,       planned.format->segments[index++]};
      // A tied head reads the embedding's tensor; one with weights of its own gets its own name.
      if (planned.role == Role::kHead) entry.name = kHeadName;
      if (table) entry.slot = table->slots[p];
      members.push_back(std::move(entry));
    }
  }
  return members;
}

std::vector<ExportModule> export_modules(const Plan& plan, const std::vector<ExportMember>& members) {
  std::vector<ExportModule> modules;
  for (const ExportMember& member : members) {
    if (member.kind == ModuleKind::kOther) continue;
    modules.push_back({module_of(member.name), member.kind, member.scheme()});
  }
  const int64_t head = plan.find(Role::kHead, -1);
  if (head >= 0 && head == plan.find(Role::kEmbedding, -1)) {
    modules.push_back({module_of(kHeadName), ModuleKind::kHead, plan.parameters()[head].format->scheme});
  }
  return modules;
}

}  // namespace liveweight
