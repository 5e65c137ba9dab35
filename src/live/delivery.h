// How weights may reach an update, for tests: whole or in pieces of any form, in any order, on several
// threads.
#pragma once

#include <functional>
#include <numeric>
#include <thread>

#include "live/random_model.h"

namespace liveweight::testing {

using Delivery = std::function<Status(Update&)>;

// A copy of a region, given away when the call is over.
inline Status put_region(Update& update, const std::string& name, const TensorView& whole,
                         const Region& region) {
  const int64_t each = bits_of(whole.dtype) / 8;
  const bool matrix = whole.shape.size() == 2;
  const int64_t cols = matrix ? region.extent[1] : 1, stride = matrix ? whole.shape[1] : 1;
  std::vector<std::byte> bytes(static_cast<size_t>(region.extent[0] * cols * each));
  for (int64_t row = 0; row < region.extent[0]; ++row) {
    const int64_t from = (region.start[0] + row) * stride + (matrix ? region.start[1] : 0);
    std::memcpy(bytes.data() + row * cols * each, whole.data + from * each, static_cast<size_t>(cols * each));
  }
  return update.put(name, {whole.dtype, region.extent, bytes.data(), bytes.size()}, region);
}

inline Status put_run(Update& update, std::string_view name, const TensorView& whole, int64_t first,
                      int64_t count) {
  const int64_t each = bits_of(whole.dtype) / 8;
  const std::vector<std::byte> bytes(whole.data + first * each, whole.data + (first + count) * each);
  return update.put_flat(name, {whole.dtype, {count}, bytes.data(), bytes.size()}, first);
}

// Cuts [0, size) into at most `most` pieces.
inline std::vector<std::pair<int64_t, int64_t>> cut(Random& random, int64_t size, int64_t most) {
  std::vector<int64_t> edges = {0, size};
  for (int64_t i = between(random, 0, most - 1); i > 0; --i) edges.push_back(between(random, 0, size));
  std::sort(edges.begin(), edges.end());
  std::vector<std::pair<int64_t, int64_t>> pieces;
  for (size_t i = 1; i < edges.size(); ++i) {
    if (edges[i] > edges[i - 1]) pieces.emplace_back(edges[i - 1], edges[i] - edges[i - 1]);
  }
  return pieces;
}

// One tensor, in a form drawn at random.
inline void add_deliveries(Random& random, const Weights& weights, const std::string& name,
                           std::vector<Delivery>& all) {
  const TensorView view = weights.view(name);
  switch (between(random, 0, 3)) {
    case 0:
      all.push_back([=](Update& update) { return update.borrow(name, view); });
      return;
    case 1:
      all.push_back([=](Update& update) { return update.put(name, view); });
      return;
    case 2:
      for (const auto& [first, count] : cut(random, element_count(view.shape), 6)) {
        all.push_back([=, first = first, count = count](Update& update) {
          return put_run(update, name, view, first, count);
        });
      }
      return;
    default:
      for (const auto& [row, rows] : cut(random, view.shape[0], 4)) {
        const bool matrix = view.shape.size() == 2;
        for (const auto& [col, cols] : cut(random, matrix ? view.shape[1] : 1, 3)) {
          const Region region = matrix ? Region{{row, col}, {rows, cols}} : Region{{row}, {rows}};
          all.push_back([=](Update& update) { return put_region(update, name, view, region); });
        }
      }
  }
}

// All of them in a random order. `names` empty: every tensor.
inline std::vector<Delivery> deliveries(Random& random, const Weights& weights,
                                        const std::vector<std::string>& names = {}) {
  std::vector<Delivery> all;
  if (names.empty()) {
    for (const auto& [name, entry] : weights.tensors) add_deliveries(random, weights, name, all);
  }
  for (const std::string& name : names) add_deliveries(random, weights, name, all);
  std::shuffle(all.begin(), all.end(), random);
  return all;
}

// On up to three threads; the first error.
inline Status deliver(Random& random, Update& update, const std::vector<Delivery>& all) {
  const auto threads = static_cast<size_t>(between(random, 1, 3));
  std::vector<Status> results(threads);
  std::vector<std::thread> pool;
  for (size_t t = 0; t < threads; ++t) {
    pool.emplace_back([&, t] {
      for (size_t i = t; i < all.size() && results[t]; i += threads) results[t] = all[i](update);
    });
  }
  for (std::thread& thread : pool) thread.join();
  for (const Status& result : results) LW_TRY(result);
  return {};
}

inline constexpr CommitMode kCommitModes[] = {CommitMode::kFlip, CommitMode::kCopy, CommitMode::kInPlace};

// A model, how it is quantized, and how its updates commit.
struct RandomCase {
  RandomModel model;
  PlanOptions options;

  static RandomCase draw(Random& random, uint64_t seed, int64_t heads = 4) {
    static const std::vector<Scheme> schemes = all_schemes();
    RandomCase drawn{RandomModel(random, heads), {}};
    drawn.options.quantization = QuantizationConfig::uniform(schemes[seed % schemes.size()]);
    drawn.options.mode = one_of(random, kCommitModes);
    return drawn;
  }
  std::string describe(uint64_t seed) const {
    return fmt::format("LIVEWEIGHT_TEST_SEED={} LIVEWEIGHT_TEST_ROUNDS=1: mode {}, {}", seed,
                       to_string(options.mode), model.text());
  }
};

inline Result<UpdateReport> reload(Random& random, LiveModel& live, const std::vector<Delivery>& all,
                                   UpdateOptions options = {}) {
  auto update = live.begin_update(std::move(options));
  if (!update) return tl::unexpected(update.error());
  LW_TRY(deliver(random, *update, all));
  return update->commit();
}

}  // namespace liveweight::testing
