#include "bench/delta_bench.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "base/memory.h"
#include "base/threads.h"
#include "bench/positions.h"
#include "bench/rounds.h"
#include "liveweight/load.h"
#include "quantize/element_batch.h"
#include "tensor/codec.h"

namespace liveweight::bench {
namespace {

// Whether an element is that near to the largest magnitude of its group of a tensor.
bool near_maximum(const TensorView& tensor, uint32_t position, int64_t group) {
  const int64_t first = position / group * group, last = std::min(first + group, element_count(tensor.shape));
  const auto magnitude = [&](int64_t i) {
    return std::fabs(load_high_precision(tensor.dtype, tensor.data, i));
  };
  float largest = 0;
  for (int64_t i = first; i < last; ++i) largest = std::max(largest, magnitude(i));
  return magnitude(position) >= largest * ElementRule::kNearLargest;
}

// Changes of a share of a tensor; `steady_group` above 0: of none that is the largest of its group.
TensorDelta draw(std::mt19937_64& random, const Mirror& mirror, const CheckpointTensor& tensor, double share,
                 int64_t steady_group) {
  ChangedCells cells;
  const TensorView now = mirror.find(std::string(tensor.name));
  const auto cell = static_cast<size_t>(cell_bytes(now.dtype));
  cells.positions = draw_positions(random, element_count(now.shape), share);
  if (steady_group > 0 && is_high_precision(now.dtype)) {
    std::erase_if(cells.positions,
                  [&](uint32_t position) { return near_maximum(now, position, steady_group); });
  }
  cells.values.resize(cells.positions.size() * cell);
  for (size_t i = 0; i < cells.positions.size(); ++i) {
    std::memcpy(&cells.values[i * cell], now.data + cells.positions[i] * cell, cell);
    cells.values[i * cell] ^= std::byte{1};
  }
  return make_delta(std::string(tensor.name), now.dtype, now.shape, std::move(cells));
}

// The same positions, spread over a buffer of the live size.
double scatter_seconds(const std::vector<TensorDelta>& deltas, uint64_t elements, const Buffer& target) {
  constexpr size_t kJob = size_t{1} << 14, kAhead = 32;
  struct Job {
    const uint32_t* positions;
    size_t count;
    double first;
  };
  std::vector<Job> jobs;
  double first = 0;
  for (const TensorDelta& delta : deltas) {
    for (size_t at = 0; at < delta.positions.size(); at += kJob) {
      jobs.push_back({delta.positions.data() + at, std::min(kJob, delta.positions.size() - at), first});
    }
    first += static_cast<double>(element_count(delta.shape));
  }
  const double scale = static_cast<double>(target.size() - 1) / static_cast<double>(elements);
  std::byte* data = target.data();
  return seconds_of([&] {
    ThreadPool::shared().parallel_for(static_cast<int64_t>(jobs.size()), [&](int64_t j) {
      const Job& job = jobs[static_cast<size_t>(j)];
      const auto place = [&](size_t i) {
        return data + static_cast<uint64_t>((job.first + job.positions[i]) * scale);
      };
      for (size_t i = 0; i < job.count; ++i) {
        if (i + kAhead < job.count) __builtin_prefetch(place(i + kAhead), 1);
        *place(i) ^= std::byte{1};
      }
    });
  });
}

struct Round {
  double update, floor, behind;
};

Result<Round> run_round(LiveModel& model, const std::vector<TensorDelta>& deltas, uint64_t elements,
                        const Buffer& target, DeltaFigures& figures) {
  Round round{};
  Result<UpdateReport> report;
  Status put;
  round.update = seconds_of([&] {
    UpdateOptions options;
    options.deltas = true;
    auto update = model.begin_update(std::move(options));
    if (!update) {
      put = tl::unexpected(update.error());
      return;
    }
    put = update->put_deltas(deltas);
    report = update->commit();
  });
  LW_TRY(put);
  LW_TRY(report);
  figures.changed = report->changed_elements;
  figures.whole_units = report->whole_units;
  round.floor = scatter_seconds(deltas, elements, target);
  Status behind;
  round.behind = seconds_of([&] { behind = model.catch_up(); });
  LW_TRY(behind);
  return round;
}

}  // namespace

Result<std::vector<DeltaFigures>> measure_deltas(const std::filesystem::path& directory,
                                                 const std::string& scheme, const std::vector<double>& shares,
                                                 int rounds) {
  LoadOptions options;
  LW_ASSIGN(const Scheme parsed, parse_scheme(scheme));
  options.quantization = QuantizationConfig::uniform(parsed);
  LW_ASSIGN(const ModelDirectory opened, open_model_directory(directory));
  LW_ASSIGN(const auto model, load_model(opened, options));
  LW_ASSIGN(const auto mirror, Mirror::in_memory(opened.checkpoint, same_name));
  LW_TRY(model->attach_mirror(mirror));
  LW_TRY(model->catch_up());
  LW_ASSIGN(const Buffer target, Buffer::allocate(model->plan().live_bytes()));
  uint64_t elements = 0;
  for (const CheckpointTensor& tensor : opened.checkpoint.tensors()) {
    elements += static_cast<uint64_t>(element_count(tensor.view.shape));
  }
  std::mt19937_64 random(1);
  const auto run = [&](double share, int64_t steady_group, DeltaFigures& figures) {
    std::vector<TensorDelta> deltas;
    for (const CheckpointTensor& tensor : opened.checkpoint.tensors()) {
      TensorDelta delta = draw(random, *mirror, tensor, share, steady_group);
      if (!delta.positions.empty()) deltas.push_back(std::move(delta));  // as DeltaWriter leaves them out
    }
    return run_round(*model, deltas, elements, target, figures);
  };
  const bool groups = parsed.granularity == Granularity::kGroup;
  std::vector<DeltaFigures> all;
  for (const double share : shares) {
    DeltaFigures figures{scheme, share};
    std::vector<double> updates, floors, behinds, steady_updates, steady_floors;
    for (int i = 0; i < rounds; ++i) {
      if (groups) {
        LW_ASSIGN(const Round steady, run(share, parsed.size, figures));
        steady_updates.push_back(steady.update);
        steady_floors.push_back(steady.floor);
      }
      LW_ASSIGN(const Round round, run(share, 0, figures));
      updates.push_back(round.update);
      floors.push_back(round.floor);
      behinds.push_back(round.behind);
    }
    figures.update_seconds = median(updates);
    figures.floor_seconds = median(floors);
    figures.behind_seconds = median(behinds);
    figures.times_floor = share_of(updates, floors);
    if (groups) figures.steady_times_floor = share_of(steady_updates, steady_floors);
    all.push_back(figures);
  }
  return all;
}

}  // namespace liveweight::bench
