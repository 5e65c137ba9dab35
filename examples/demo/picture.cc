#include "demo/picture.h"

#include <fmt/format.h>

namespace liveweight::demo {

plot::Chart picture_of(const Record& record) {
  plot::Series served{record.scheme + ", as it was served", plot::Mark::kLine, {}};
  plot::Series reference{"bf16, in transformers", plot::Mark::kBars, {}};
  plot::Series reload{"", plot::Mark::kBars, {}};
  plot::Chart chart;
  for (const Row& row : record.rows) {
    chart.categories.push_back(row.checkpoint.step);
    served.values.push_back(row.answers.accuracy() * 100);
    reference.values.push_back(row.checkpoint.reference_accuracy * 100);
    reload.values.push_back(row.reloaded.reload_ms);
  }
  chart.title = fmt::format("A model that learns while it serves: {} versions, {} requests, {} failed",
                            record.rows.size(), record.requests, record.failed);
  chart.subtitle = fmt::format(
      "a 0.5 M parameter Llama that adds; every version taken in place, pause {:.1f} "
      "us in the median; weights equal a cold load's bit for bit",
      pause_us(record).median);
  chart.x_label = "training step of the checkpoint, then steps of fine-tuning (+1, +2, ...)";
  chart.panels = {{"Right answers to held-out problems", "%", 105, {reference, served}, ""},
                  {"Reload: from opening the checkpoint to the commit", "ms", 0, {reload}, "%.1f"}};
  if (!record.bad_updates.empty()) {
    chart.notes = {{static_cast<double>(record.bad_updates.front().after_row) - 0.5,
                    fmt::format("{} bad updates refused", record.bad_updates.size())}};
  }
  return chart;
}

}  // namespace liveweight::demo
