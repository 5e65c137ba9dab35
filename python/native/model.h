// liveweight.Model and liveweight.Update.
#pragma once

#include <nanobind/nanobind.h>

#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "array.h"
#include "liveweight/engine.h"
#include "liveweight/load.h"
#include "liveweight/tokenizer.h"

namespace liveweight::python {

// What a Model holds. Updates, views and engines share it, so that it outlives them.
struct ModelState {
  std::filesystem::path directory;
  NameMap names;
  std::unique_ptr<LiveModel> live;
  std::shared_ptr<const Tokenizer> tokenizer;  // null where the directory has none
  EngineOptions engine_options;

  std::mutex mutex;  // of what follows
  std::unique_ptr<Engine> engine;
  // The directory of the version of that number, for `report`.
  uint64_t source_version = 0;
  std::filesystem::path source_directory;

  void came_from(uint64_t version, const std::filesystem::path& from);
  Result<Engine*> shared_engine();
};

struct ModelHandle {
  std::shared_ptr<ModelState> state;
};

// The canonical name of a tensor that a trainer names; empty for those that no runtime loads.
std::string canonical_name(const ModelState& state, const std::string& name);

void bind_model(nanobind::module_& module);
void bind_update(nanobind::module_& module, nanobind::class_<ModelHandle>& model);
void bind_tensors(nanobind::module_& module, nanobind::class_<ModelHandle>& model);
void bind_generate(nanobind::module_& module, nanobind::class_<ModelHandle>& model);
void bind_matrices(nanobind::module_& module);
void bind_buffers(nanobind::module_& module);

}  // namespace liveweight::python
