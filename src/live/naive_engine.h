// Engines for the catalogue's tests: ours, and a deliberately naive one that has one of the field's
// well-known faults, so that each test is known to bite.
#pragma once

#include <functional>
#include <memory>
#include <set>

#include "live/delivery.h"

namespace liveweight::testing {

// A piece of a tensor on its way: elements [first, first + count) of the flattened tensor.
struct Sent {
  std::string name;
  TensorView whole;
  int64_t first = 0;
  int64_t count = 0;
};

inline Sent whole_of(const Weights& weights, const std::string& name) {
  const TensorView view = weights.view(name);
  return {name, view, 0, element_count(view.shape)};
}

inline std::vector<Sent> all_of(const Weights& weights) {
  std::vector<Sent> sent;
  for (const auto& [name, entry] : weights.tensors) sent.push_back(whole_of(weights, name));
  return sent;
}

// Something that serves weights and takes new ones.
class Reloadable {
 public:
  virtual ~Reloadable() = default;
  virtual bool update(const std::vector<Sent>& sent) = 0;  // whether it was accepted
  virtual bool rollback() = 0;
  virtual std::string served() const = 0;  // equal where the same weights are served
  virtual std::vector<const void*> addresses() const = 0;
  virtual uint64_t held_bytes() const = 0;  // at most, beside what is served and the next version
};

class OurEngine : public Reloadable {
 public:
  OurEngine(const RandomModel& model, const Weights& first, PlanOptions options = scheme()) {
    live_ = make_model(model, first.catalog(), options).value();
  }
  static PlanOptions scheme() {
    PlanOptions options;
    options.quantization = QuantizationConfig::uniform(parse_scheme("int8_per_channel").value());
    return options;
  }

  bool update(const std::vector<Sent>& sent) override {
    auto update = live_->begin_update();
    if (!update) return false;
    for (const Sent& piece : sent) {
      if (!put_run(*update, piece.name, piece.whole, piece.first, piece.count)) return false;
    }
    const auto report = update->commit();
    if (report) held_bytes_ = report->extra_peak_bytes - next_version_bytes();
    return report.has_value();
  }
  bool rollback() override { return live_->rollback().has_value(); }
  std::string served() const override {
    const auto digest = digest_of(*live_);
    return digest ? digest->model.hex() : digest.error().message;
  }
  std::vector<const void*> addresses() const override {
    const auto all = addresses_of(*live_);
    return {all.begin(), all.end()};
  }
  uint64_t held_bytes() const override { return held_bytes_; }
  LiveModel& live() { return *live_; }

 private:
  uint64_t next_version_bytes() const {
    uint64_t bytes = 0;
    for (size_t p = 0; p + 1 < live_->plan().parameters().size(); ++p) {
      const auto at = static_cast<int64_t>(p);
      bytes += static_cast<uint64_t>(live_->slot_address(at + 1, 1) - live_->slot_address(at, 1));
    }
    return bytes;
  }

  std::unique_ptr<LiveModel> live_;
  uint64_t held_bytes_ = 0;
};

enum class Flaw {
  kCountsElements,       // 1: a tensor is whole when as many elements came as it has
  kKeepsWhatDidNotCome,  // 2: what is missing keeps its old weights, with a warning at best
  kPostprocessesAgain,   // 3: the kernel layout's shuffle is applied to what is shuffled already
  kMovesBuffers,         // 4: each reload allocates anew
  kClonesTheHead,        // 5: a tied head is a copy made at first load
  kServesNonFinite,      // 8
  kTrustsPositions,      // 9: positions beyond the end wrap round
  kNumbersByArrival,     // 10: the n-th expert that comes is expert n
  kWritesAsItGoes,       // 11: no second slot
  kReadsThePathAgain,    // 12: rollback loads from where the update came from
  kHoldsHighPrecision,   // 14: restores the model in high precision first
};

// Serves rows of int8 as ours does, with one flaw.
class NaiveEngine : public Reloadable {
 public:
  NaiveEngine(const Weights& first, Flaw flaw) : flaw_(flaw) {
    for (const auto& [name, entry] : first.tensors) tensors_[name].shape = entry.shape;
  }

  bool update(const std::vector<Sent>& sent) override {
    last_source_ = sent;
    std::map<std::string, Tensor> staged = tensors_;
    std::map<std::string, Tensor>& target = flaw_ == Flaw::kWritesAsItGoes ? tensors_ : staged;
    std::map<std::string, Pending> pending;
    held_bytes_ = 0;
    for (const Sent& piece : sent) {
      if (!take(piece, target, pending)) return false;
    }
    if (flaw_ == Flaw::kHoldsHighPrecision) {
      for (const auto& [name, tensor] : tensors_) held_bytes_ += 4 * element_count(tensor.shape);
    }
    if (flaw_ != Flaw::kKeepsWhatDidNotCome && done_.size() != tensors_.size()) return clear(false);
    if (flaw_ != Flaw::kWritesAsItGoes) previous_ = std::exchange(tensors_, keep_buffers(std::move(staged)));
    return clear(true);
  }

  bool rollback() override {
    if (flaw_ == Flaw::kReadsThePathAgain) return update(last_source_);
    tensors_ = previous_;
    return true;
  }

  std::string served() const override {
    std::string bytes;
    for (const auto& [name, tensor] : tensors_) {
      const bool cloned = flaw_ == Flaw::kClonesTheHead && name == "model.embed_tokens.weight" && head_;
      for (const float value : tensor.values) bytes += fmt::format("{} ", value);
      if (cloned) bytes += head_->values == tensor.values ? "tied" : "stale head";
    }
    return bytes;
  }

  std::vector<const void*> addresses() const override {
    std::vector<const void*> all;
    for (const auto& [name, tensor] : tensors_) all.push_back(tensor.buffer.get());
    return all;
  }
  uint64_t held_bytes() const override { return held_bytes_; }

 private:
  struct Tensor {
    Shape shape;
    std::vector<float> values;
    bool shuffled = false;
    std::shared_ptr<int> buffer = std::make_shared<int>();  // stands for the memory that a graph points at
  };
  struct Pending {
    std::vector<float> values;
    std::set<int64_t> came;
    int64_t counted = 0;
  };

  bool clear(bool accepted) {
    done_.clear();
    arrived_ = 0;
    return accepted;
  }

  std::map<std::string, Tensor> keep_buffers(std::map<std::string, Tensor> staged) const {
    for (auto& [name, tensor] : staged) {
      if (flaw_ == Flaw::kMovesBuffers) tensor.buffer = std::make_shared<int>();
    }
    return staged;
  }

  std::string destination(const std::string& name) {
    const auto at = name.find(".experts.");
    if (flaw_ != Flaw::kNumbersByArrival || at == std::string::npos) return name;
    return name.substr(0, at + 9) + std::to_string(arrived_++ / 3 % 3) + name.substr(at + 10);
  }

  bool take(const Sent& piece, std::map<std::string, Tensor>& target,
            std::map<std::string, Pending>& pending) {
    const std::string name = destination(piece.name);
    if (!target.count(name)) return clear(false);
    Tensor& tensor = target[name];
    const int64_t size = element_count(tensor.shape);
    Pending& waiting = pending[name];
    waiting.values.resize(static_cast<size_t>(size));
    for (int64_t i = piece.first; i < piece.first + piece.count; ++i) {
      const float value = load_high_precision(piece.whole.dtype, piece.whole.data, i);
      if (!std::isfinite(value) && flaw_ != Flaw::kServesNonFinite) return clear(false);
      if (i >= size && flaw_ != Flaw::kTrustsPositions) return clear(false);
      waiting.values[static_cast<size_t>(i % size)] = value;
      waiting.came.insert(i % size);
      ++waiting.counted;
    }
    finish(name, tensor, waiting, size);
    return true;
  }

  void finish(const std::string& name, Tensor& tensor, const Pending& waiting, int64_t size) {
    const int64_t came =
        flaw_ == Flaw::kCountsElements ? waiting.counted : static_cast<int64_t>(waiting.came.size());
    if (came < size) return;
    tensor.values = waiting.values;
    if (flaw_ == Flaw::kPostprocessesAgain && tensor.shuffled) {
      std::reverse(tensor.values.begin(), tensor.values.end());
    }
    tensor.shuffled = true;
    if (!head_ && name == "model.embed_tokens.weight") head_ = tensor;
    done_.insert(name);
  }

  const Flaw flaw_;
  std::map<std::string, Tensor> tensors_, previous_;
  std::optional<Tensor> head_;
  std::vector<Sent> last_source_;
  std::set<std::string> done_;
  int64_t arrived_ = 0;
  uint64_t held_bytes_ = 0;
};

}  // namespace liveweight::testing
