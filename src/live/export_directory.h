// A directory that appears whole or not at all: filled under a temporary name beside its place, then renamed.
#pragma once

#include <filesystem>

#include "checkpoint/file.h"
#include "liveweight/error.h"

namespace liveweight {

class ExportDirectory {
 public:
  // Refuses a place that is `source` itself, not empty, not a directory, or where nothing can be written.
  static Result<ExportDirectory> create(const std::filesystem::path& place,
                                        const std::filesystem::path& source);
  ExportDirectory(ExportDirectory&& other) noexcept;
  ~ExportDirectory();  // removes everything, unless published

  const std::filesystem::path& path() const { return temporary_; }

  // Copies the small files of `source` that are neither weights nor config.json: tokenizers, generation
  // settings, templates, licences.
  Status copy_companions(const std::filesystem::path& source) const;

  Status publish();

 private:
  ExportDirectory(std::filesystem::path place, std::filesystem::path temporary, FileDescriptor claim);

  std::filesystem::path place_, temporary_;  // temporary_ is empty when there is nothing to remove
  FileDescriptor claim_;
};

}  // namespace liveweight
