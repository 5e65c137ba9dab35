// Random deltas for tests, aimed at what is hard: largest elements that move, shrink or change sign, zeros of
// either sign, units that become all zero.
#pragma once

#include <filesystem>
#include <map>
#include <optional>

#include "base/temporary_folder.h"
#include "live/random_model.h"
#include "liveweight/delta.h"
#include "liveweight/mirror.h"

namespace liveweight::testing {

inline float element_of(const Weights& weights, const std::string& name, int64_t element) {
  const Weights::Entry& entry = weights.tensors.at(name);
  return load_high_precision(entry.dtype, entry.bytes.data(), element);
}

inline int64_t largest_in(const Weights& weights, const std::string& name, int64_t begin, int64_t end) {
  int64_t largest = begin;
  for (int64_t i = begin; i < end; ++i) {
    if (std::fabs(element_of(weights, name, i)) > std::fabs(element_of(weights, name, largest))) largest = i;
  }
  return largest;
}

// Changes a few elements, near one another or not.
inline void change_some(Random& random, Weights& weights, const std::string& name) {
  const Shape& shape = weights.tensors.at(name).shape;
  const int64_t count = element_count(shape), cols = shape.size() == 2 ? shape[1] : 1;
  const int64_t row = between(random, 0, count / cols - 1) * cols;
  std::normal_distribution<float> normal(0, 0.05f);
  switch (between(random, 0, 7)) {
    case 0:
      for (int64_t i = row; i < row + cols; ++i) weights.set(name, i, i % 3 ? 0.0f : -0.0f);
      return;
    case 1:
      return weights.set(name, largest_in(weights, name, row, row + cols), normal(random) * 0.01f);
    case 2: {
      const int64_t at = largest_in(weights, name, 0, count);
      return weights.set(name, at, -element_of(weights, name, at));
    }
    case 3:
      return weights.set(name, between(random, 0, count - 1), normal(random) * 40);
    case 4:
      return weights.set(name, count - 1, normal(random) * 5);
    case 5: {
      const int64_t from = largest_in(weights, name, row, row + cols);
      const float value = element_of(weights, name, from);
      weights.set(name, from, 0);
      return weights.set(name, row + between(random, 0, cols - 1), value);
    }
    default:
      for (int64_t i = between(random, 1, 40); i > 0; --i) {
        weights.set(name, between(random, 0, count - 1), normal(random));
      }
  }
}

// Some tensors of `weights` changed.
inline Weights changed(Random& random, Weights weights) {
  const int64_t share = between(random, 1, 4);
  for (const auto& [name, entry] : weights.tensors) {
    if (between(random, 1, 4) > share || element_count(entry.shape) == 0) continue;
    for (int64_t i = between(random, 1, 3); i > 0; --i) change_some(random, weights, name);
  }
  return weights;
}

inline std::vector<TensorDelta> deltas_between(const Weights& old, const Weights& updated) {
  std::vector<TensorDelta> deltas;
  for (const auto& [name, entry] : old.tensors) {
    TensorDelta delta = compare_tensors(name, old.view(name), updated.view(name)).value();
    if (!delta.positions.empty()) deltas.push_back(std::move(delta));
  }
  return deltas;
}

inline Result<UpdateReport> commit_deltas(LiveModel& live, const std::vector<TensorDelta>& deltas,
                                          UpdateOptions options = {}) {
  options.deltas = true;
  LW_ASSIGN(Update update, live.begin_update(std::move(options)));
  LW_TRY(update.put_deltas(deltas));
  return update.commit();
}

inline Result<UpdateReport> put_changes(LiveModel& live, const Weights& old, const Weights& updated,
                                        UpdateOptions options = {}) {
  return commit_deltas(live, deltas_between(old, updated), std::move(options));
}

inline void expect_holds(const Mirror& mirror, const Weights& weights) {
  for (const auto& [name, entry] : weights.tensors) {
    const TensorView there = mirror.find(name);
    ASSERT_EQ(std::memcmp(there.data, entry.bytes.data(), entry.bytes.size()), 0) << name;
  }
}

inline Checkpoint write_checkpoint(const std::filesystem::path& directory, const Weights& weights) {
  std::vector<std::pair<std::string, TensorView>> tensors;
  for (const auto& [name, entry] : weights.tensors) tensors.emplace_back(name, weights.view(name));
  std::filesystem::create_directories(directory);
  const Status status = write_safetensors(directory / "model.safetensors", tensors);
  if (!status) throw std::runtime_error(status.error().message);
  return Checkpoint::open(directory).value();
}

}  // namespace liveweight::testing
