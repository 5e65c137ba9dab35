#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "checkpoint/delta_chain.h"
#include "checkpoint/directory_lock.h"
#include "checkpoint/kept_files.h"
#include "checkpoint/write.h"
#include "liveweight/delta.h"

namespace liveweight {
namespace {

constexpr const char* kIndexName = "model.safetensors.index.json";

class Applier {
 public:
  Applier(const DeltaChain& chain, const std::filesystem::path& out)
      : chain_(chain), place_(out), out_(out) {}

  // Into a directory that is not there yet or is empty.
  Result<DeltaApplyReport> write() {
    LW_TRY(out_.create());
    LW_TRY(write_checkpoint());
    LW_TRY(copy_others(chain_.base));
    LW_TRY(copy_others(chain_.first->directory()));
    LW_TRY(chain_.checkpoint->check_unchanged());
    LW_TRY(out_.finish());
    return report();
  }

  // Into the first checkpoint's own directory: all else in it stays.
  Result<DeltaApplyReport> replace() {
    constexpr mode_t kOnlyMine = 0700;  // until it has its own mode
    LW_TRY(out_.create(kOnlyMine));
    LW_TRY(write_checkpoint());
    std::error_code error;
    const bool restarted = !std::filesystem::equivalent(chain_.base, place_, error);
    if (restarted) LW_TRY(copy_others(chain_.base));
    KeptFiles kept(place_, out_.path(), replaced_names(restarted));
    LW_TRY(keep_modes());
    LW_TRY(kept.keep());
    LW_TRY(keep_mode(place_, out_.path()));
    LW_TRY(check_readable());
    LW_TRY(chain_.checkpoint->check_unchanged());
    LW_TRY(kept.check_unchanged());
    LW_TRY(out_.finish(true));
    return report();
  }

 private:
  DeltaApplyReport report() const {
    DeltaApplyReport report = report_;
    report.version = chain_.version;
    report.deltas = chain_.deltas.size();
    report.tensors = changed_.size();
    return report;
  }

  Status write_checkpoint() {
    for (const std::string& file : chain_.checkpoint->file_names()) LW_TRY(write_file(file));
    return write_index();
  }

  // The old weights and their index; of a newer checkpoint also what has the name of one of its other files.
  std::set<std::string> replaced_names(bool restarted) const {
    std::set<std::string> names{kIndexName};
    for (std::string& file : chain_.first->file_names()) names.insert(std::move(file));
    std::error_code error;
    for (std::filesystem::directory_iterator it(out_.path(), error), end; restarted && it != end;
         it.increment(error)) {
      const std::filesystem::path& name = it->path().filename();
      if (name.extension() != ".safetensors" && std::filesystem::is_regular_file(place_ / name, error))
        names.insert(name.string());
    }
    return names;
  }

  // What is written has the mode of what it replaces, else of what it comes from.
  Status keep_modes() {
    std::error_code error;
    for (std::filesystem::directory_iterator it(out_.path(), error), end; !error && it != end;
         it.increment(error)) {
      const std::filesystem::path name = it->path().filename();
      const bool was_there = std::filesystem::exists(place_ / name, error);
      LW_TRY(keep_mode((was_there ? place_ : chain_.base) / name, it->path()));
    }
    return {};
  }

  // What stays must not be read beside what was written, nor in its place.
  Status check_readable() const {
    LW_ASSIGN(const Checkpoint made, Checkpoint::open(out_.path()));
    const std::vector<std::string> expected = chain_.checkpoint->file_names();
    for (const std::string& file : made.file_names()) {
      if (std::find(expected.begin(), expected.end(), file) != expected.end()) continue;
      return fail(
          ErrorCode::kBadCheckpoint,
          fmt::format("{}: {} stays in it, and would be read with the new weights or in place of them; "
                      "write elsewhere with --out",
                      place_.string(), file),
          {file});
    }
    return {};
  }

  Status write_file(const std::string& name) {
    std::vector<std::pair<std::string, TensorView>> tensors;
    for (const CheckpointTensor& tensor : chain_.checkpoint->tensors()) {
      if (tensor.file == name) tensors.emplace_back(tensor.name, tensor.view);
    }
    std::map<std::string, std::string> metadata = chain_.checkpoint->metadata_of(name);
    metadata.erase("version");
    if (!chain_.version.empty()) metadata["version"] = chain_.version;
    ReplacementFile file(out_.path() / name);
    LW_TRY(file.create());
    LW_TRY(append_safetensors_header(file, tensors, metadata));
    for (const auto& [tensor, view] : tensors) LW_TRY(append_tensor(file, tensor, view));
    return file.finish();
  }

  Status append_tensor(ReplacementFile& file, const std::string& name, const TensorView& view) {
    report_.bytes += view.bytes;
    LW_ASSIGN(const PatchedTensor patched, chain_.patched(name, view));
    if (!patched.changed) return file.append(view.data, view.bytes);
    changed_.insert(name);
    report_.changed_elements += patched.elements;
    return file.append(patched.bytes.data(), patched.bytes.size());
  }

  // Configurations and tokenizers; what is there already stays.
  Status copy_others(const std::filesystem::path& from) {
    std::error_code error;
    for (std::filesystem::directory_iterator it(from, error), end; !error && it != end; it.increment(error)) {
      const std::filesystem::path name = it->path().filename();
      std::error_code dangling;
      if (!it->is_regular_file(dangling) || name.extension() == ".safetensors" || name == kIndexName)
        continue;
      std::filesystem::copy_file(it->path(), out_.path() / name, std::filesystem::copy_options::skip_existing,
                                 error);
      if (error) break;
    }
    if (!error) return {};
    return fail(ErrorCode::kIo, fmt::format("{}: cannot copy its files: {}", from.string(), error.message()),
                {from.string()});
  }

  Status write_index() {
    std::error_code error;
    if (!std::filesystem::exists(chain_.base / kIndexName, error)) return {};
    LW_ASSIGN(const std::string text, read_text_file(chain_.base / kIndexName));
    auto json = nlohmann::ordered_json::parse(text, nullptr, false);
    if (!json.is_object())
      return fail(ErrorCode::kBadCheckpoint, fmt::format("{}: not an object", kIndexName));
    if (!json.contains("metadata") || !json["metadata"].is_object()) {
      json["metadata"] = nlohmann::ordered_json::object();
    }
    json["metadata"].erase("version");
    if (!chain_.version.empty()) json["metadata"]["version"] = chain_.version;
    return write_text_file(out_.path() / kIndexName, json.dump(2) + "\n");
  }

  const DeltaChain& chain_;
  const std::filesystem::path place_;
  ReplacementDirectory out_;
  DeltaApplyReport report_;
  std::set<std::string> changed_;
};

// What is read under the lock stays what is there.
Result<DeltaApplyReport> apply_in_place(const std::filesystem::path& directory,
                                        std::span<const std::filesystem::path> deltas,
                                        const TiedTensors& tied, const TensorNames& names) {
  LW_ASSIGN(const DirectoryLock lock, DirectoryLock::take(directory));
  DeltaChain chain(tied, names);
  LW_TRY(chain.read(lock.path(), deltas));
  return Applier(chain, lock.path()).replace();
}

}  // namespace

Result<DeltaApplyReport> apply_deltas(const std::filesystem::path& base,
                                      std::span<const std::filesystem::path> deltas,
                                      const std::filesystem::path& out, const TiedTensors& tied,
                                      const TensorNames& names) {
  std::error_code error;
  if (std::filesystem::equivalent(base, out, error)) return apply_in_place(base, deltas, tied, names);
  DeltaChain chain(tied, names);
  LW_TRY(chain.read(base, deltas));
  if (std::filesystem::exists(out, error) && !std::filesystem::is_empty(out, error)) {
    return fail(ErrorCode::kIo,
                fmt::format("{}: expected a new or empty directory, it holds files", out.string()),
                {out.string()});
  }
  return Applier(chain, out).write();
}

}  // namespace liveweight
