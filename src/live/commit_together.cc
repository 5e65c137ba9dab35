// All ranks flip, or none.
#include <fmt/format.h>

#include "base/seam.h"
#include "live/begin_together.h"
#include "live/update_state.h"

namespace liveweight {
namespace {

Error at_rank(size_t rank, Error error) {
  error.message = fmt::format("rank {}: {}", rank, error.message);
  return error;
}

}  // namespace

Result<std::vector<Update>> begin_together(std::span<LiveModel* const> ranks, const UpdateOptions& options) {
  std::vector<Update> updates;
  for (LiveModel* rank : ranks) {
    LW_ASSIGN(Update update, rank->begin_update(options));
    updates.push_back(std::move(update));
  }
  return updates;
}

Result<std::vector<UpdateReport>> commit_together(std::span<Update> updates) {
  const auto give_up = [&](size_t rank, Error error) {
    for (Update& update : updates) update.abort();
    if (updates.size() == 1) return tl::unexpected(std::move(error));
    return tl::unexpected(at_rank(rank, std::move(error)));
  };
  for (size_t rank = 0; rank < updates.size(); ++rank) {
    Status vote = updates[rank].prepare();
    if (vote) vote = guarded([] { return reach(Step::kVote); });
    if (!vote) return give_up(rank, std::move(vote).error());
  }
  std::vector<UpdateReport> reports;
  reports.reserve(updates.size());
  for (size_t rank = 0; rank < updates.size(); ++rank) {
    Result<UpdateReport> report = updates[rank].commit();
    if (report) {
      reports.push_back(*std::move(report));
      continue;
    }
    Error error = std::move(report).error();
    for (size_t done = 0; done < rank; ++done) {
      const auto back = guarded([&] { return updates[done].implementation_->model.roll_back(); });
      if (!back) error.message += fmt::format("; rank {} is ahead of it: {}", done, back.error().message);
    }
    return give_up(rank, std::move(error));
  }
  return reports;
}

}  // namespace liveweight
