// liveweight.Model and liveweight.Update.
#pragma once

#include <nanobind/nanobind.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "array.h"
#include "liveweight/engine.h"
#include "liveweight/load.h"
#include "liveweight/tokenizer.h"
#include "origins.h"

namespace liveweight::python {

// What a Model holds. Updates, views and engines share it, so that it outlives them.
struct ModelState {
  std::filesystem::path directory;
  NameMap names;
  std::unique_ptr<LiveModel> live;
  std::shared_ptr<const Tokenizer> tokenizer;  // null where the directory has none
  EngineOptions engine_options;
  Origins origins;

  std::mutex engine_mutex;
  std::unique_ptr<Engine> engine;
  Result<Engine*> shared_engine();

  // Puts the checkpoint that the current version came from into the mirror, where it is not there yet.
  std::mutex mirror_mutex;
  Status bring_mirror_up();
};

struct ModelHandle {
  std::shared_ptr<ModelState> state;
};

// The canonical name of a tensor that a trainer names; empty for those that no runtime loads.
std::string canonical_name(const ModelState& state, const std::string& name);

// Of seconds; Failure with kInvalidArgument where they make no sense.
std::chrono::milliseconds milliseconds_of(double reader_timeout);

void bind_model(nanobind::module_& module);
void bind_load(nanobind::class_<ModelHandle>& model);
void bind_reload(nanobind::module_& module, nanobind::class_<ModelHandle>& model);
void bind_update(nanobind::module_& module, nanobind::class_<ModelHandle>& model);
void bind_tensors(nanobind::module_& module, nanobind::class_<ModelHandle>& model);
void bind_generate(nanobind::module_& module, nanobind::class_<ModelHandle>& model);
void bind_matrices(nanobind::module_& module);
void bind_deltas(nanobind::module_& module);
void bind_buffers(nanobind::module_& module);

}  // namespace liveweight::python
