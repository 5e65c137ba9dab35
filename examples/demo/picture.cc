#include "demo/picture.h"

#include <fmt/format.h>

namespace liveweight::demo {

plot::Chart picture_of(const Record& record) {
  plot::Series served{"served, " + record.scheme, plot::Mark::kBars, {}};
  plot::Series reference{"the same checkpoint in bf16", plot::Mark::kLine, {}};
  plot::Series reload{"", plot::Mark::kBars, {}};
  plot::Chart chart;
  for (const Row& row : record.rows) {
    chart.categories.push_back(row.checkpoint.step);
    served.values.push_back(row.answers.accuracy() * 100);
    reference.values.push_back(row.checkpoint.reference_accuracy * 100);
    reload.values.push_back(row.reloaded.reload_ms);
  }
  chart.title = fmt::format("Learning to add while serving: {} versions, {} requests, {} failed",
                            record.rows.size(), grouped(record.requests), grouped(record.failed));
  chart.subtitle = fmt::format(
      "A Llama of 0.5 M parameters, quantized while loading. No update kept a step waiting for more than "
      "{:.1f} µs.",
      pause_us(record).maximum);
  chart.x_label = "training step of the checkpoint, then steps of fine-tuning (+1, +2, ...)";
  chart.panels = {{"Right answers to held-out problems", "accuracy, %", 105, {served, reference}, ""},
                  {"From opening the checkpoint to serving it", "reload, ms", 0, {reload}, "%.2f"}};
  if (!record.bad_updates.empty()) {
    chart.notes = {{static_cast<double>(record.bad_updates.front().after_row) - 0.5,
                    fmt::format("{} bad updates refused", record.bad_updates.size())}};
  }
  return chart;
}

}  // namespace liveweight::demo
