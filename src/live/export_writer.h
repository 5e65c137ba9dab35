// How a checkpoint format holds quantized members: which it can hold, as what tensors, and what config.json
// then says. One class a format.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "live/export_members.h"
#include "liveweight/export.h"

namespace liveweight {

// A tensor to be written: bytes in a slot, or made when its shard is written and let go after it.
struct ExportTensor {
  std::string name;
  TensorView view;  // `data` is null where `make` gives the bytes
  std::function<std::vector<std::byte>()> make;
};

struct ExportContents {
  std::vector<ExportTensor> tensors;
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
};

using OrderedJson = nlohmann::ordered_json;

class ExportWriter {
 public:
  virtual ~ExportWriter() = default;

  // Of a member that is quantized: kUnsupported where the format cannot hold it exactly.
  virtual Status check(const ExportMember& member) const = 0;
  // Adds the tensors of any member that passed the check.
  virtual void add(const ExportMember& member, ExportContents& contents) const = 0;
  // Adds what the file says of all members together.
  virtual void finish(const std::vector<ExportMember>& members, ExportContents& contents) const;
  virtual OrderedJson quantization_config(const std::vector<ExportModule>& modules) const = 0;
};

std::unique_ptr<ExportWriter> fp8_writer();
std::unique_ptr<ExportWriter> compressed_tensors_writer();
std::unique_ptr<ExportWriter> torchao_writer();

// The format that holds the exact values of every scheme that the members have.
ExportFormat default_export_format(const std::vector<ExportMember>& members);

// Shared by the writers. An element of high precision goes out as it is.
ExportTensor as_it_is(std::string name, const TensorView& view);
ExportTensor made(std::string name, DType dtype, Shape shape, std::function<std::vector<std::byte>()> make);
tl::unexpected<Error> cannot_hold(const ExportMember& member, ExportFormat format, const std::string& why);
bool has_floating_zero(const Scheme& scheme);
// Names of modules of linear layers (heads and routers too) that keep their precision.
std::vector<std::string> unquantized_linears(const std::vector<ExportModule>& modules);

}  // namespace liveweight
