#include "bench/reload_bench.h"

#include "base/memory.h"
#include "bench/resident.h"
#include "bench/rounds.h"
#include "bench/streams.h"
#include "liveweight/load.h"

namespace liveweight::bench {
namespace {

// Maps the files anew, as a reload does.
Result<double> floor_seconds(const std::filesystem::path& directory, const Buffer& target,
                             uint64_t live_bytes) {
  Status status;
  const double seconds = seconds_of([&] {
    const auto checkpoint = Checkpoint::open(directory);
    if (!checkpoint) {
      status = tl::unexpected(checkpoint.error());
      return;
    }
    const TensorView& first = checkpoint->tensors().front().view;
    uint64_t bytes = 0;
    for (const CheckpointTensor& tensor : checkpoint->tensors()) bytes += tensor.view.bytes;
    stream(first.data, bytes, target.data(), live_bytes);
  });
  LW_TRY(status);
  return seconds;
}

Result<double> reload_seconds(LiveModel& model, const std::filesystem::path& directory,
                              ReloadFigures& figures) {
  Status status;
  const double seconds = seconds_of([&] {
    const auto checkpoint = Checkpoint::open(directory);
    if (!checkpoint) {
      status = tl::unexpected(checkpoint.error());
      return;
    }
    const auto report = reload(model, *checkpoint);
    if (!report) {
      status = tl::unexpected(report.error());
      return;
    }
    figures.source_bytes = report->source_bytes;
    figures.extra_peak_bytes = report->extra_peak_bytes;
  });
  LW_TRY(status);
  return seconds;
}

}  // namespace

Result<ReloadFigures> measure_reload(const std::filesystem::path& directory, const std::string& scheme,
                                     CommitMode mode, int rounds) {
  ReloadFigures figures{scheme, mode};
  LoadOptions options;
  LW_ASSIGN(const Scheme parsed, parse_scheme(scheme));
  options.quantization = QuantizationConfig::uniform(parsed);
  options.mode = mode;
  LW_ASSIGN(const ModelDirectory opened, open_model_directory(directory));
  LW_ASSIGN(const auto model, load_model(opened, options));
  figures.live_bytes = model->plan().live_bytes();
  LW_ASSIGN(const Buffer target, Buffer::allocate(figures.live_bytes));
  LW_TRY(reload_seconds(*model, directory, figures));  // both slots have been written once
  std::vector<double> floors, reloads;
  PeakSampler sampler;
  for (int round = 0; round < rounds; ++round) {
    LW_ASSIGN(floors.emplace_back(), floor_seconds(directory, target, figures.live_bytes));
    LW_ASSIGN(reloads.emplace_back(), reload_seconds(*model, directory, figures));
  }
  figures.anonymous_growth_bytes = sampler.growth();
  figures.floor_seconds = median(floors);
  figures.reload_seconds = median(reloads);
  figures.share = share_of(floors, reloads);
  return figures;
}

}  // namespace liveweight::bench
