#include <algorithm>
#include <numeric>

#include "infer/calls.h"
#include "infer/linear.h"
#include "infer/vector_kernels.h"

namespace liveweight {
namespace {

// The `count` largest of `experts` probabilities, largest first; of equal ones the lower index.
void choose(const float* probabilities, int64_t experts, int64_t count, int32_t* chosen, float* weights) {
  for (int64_t i = 0; i < count; ++i) {
    int32_t best = -1;
    for (int32_t expert = 0; expert < experts; ++expert) {
      if (std::find(chosen, chosen + i, expert) != chosen + i) continue;
      if (best < 0 || probabilities[expert] > probabilities[best]) best = expert;
    }
    chosen[i] = best;
    weights[i] = probabilities[best];
  }
}

// Copies the rows that chose `expert`; returns how many.
int64_t gather(const ExpertsCall& call, int32_t expert) {
  const int64_t width = call.gate_up->format().cols;
  int64_t found = 0;
  for (int64_t place = 0; place < *call.rows * call.count; ++place) {
    if (call.chosen[place] != expert) continue;
    std::copy_n(call.x + place / call.count * width, width, call.gathered + found * width);
    call.places[found++] = place;
  }
  return found;
}

LinearArguments arguments_of(const float* x, int64_t rows, float* y, const WeightBinding& weight,
                             IntegerWorkspace* integers) {
  return {x, rows, y, weight.format().rows, nullptr, false, integers};
}

void run_expert(const ExpertsCall& call, int32_t expert, int64_t rows, Compute& compute) {
  const int64_t width = call.down->format().cols;
  linear(call.gate_up->view(expert),
         arguments_of(call.gathered, rows, call.gate_up_out, *call.gate_up, call.integers), compute);
  run(GateCall{&rows, call.gate_up_out, call.gated, width}, compute);
  linear(call.down->view(expert), arguments_of(call.gated, rows, call.expert_out, *call.down, call.integers),
         compute);
  const int64_t hidden = call.down->format().rows;
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t place = call.places[i];
    add_scaled(call.expert_out + i * hidden, call.weights[place], hidden,
               call.sum + place / call.count * hidden);
  }
}

}  // namespace

void run(const RouteCall& call, Compute&) {
  for (int64_t row = 0; row < *call.rows; ++row) {
    float* scores = call.scores + row * call.experts;
    float* weights = call.weights + row * call.count;
    const float sum = exponentials(scores, call.experts, maximum(scores, call.experts));
    scale(1.0f / sum, call.experts, scores);
    choose(scores, call.experts, call.count, call.chosen + row * call.count, weights);
    if (call.normalize)
      scale(1.0f / std::accumulate(weights, weights + call.count, 0.0f), call.count, weights);
  }
}

void run(const ExpertsCall& call, Compute& compute) {
  const int64_t hidden = call.down->format().rows;
  std::fill_n(call.sum, *call.rows * hidden, 0.0f);
  for (int32_t expert = 0; expert < call.gate_up->format().matrices; ++expert) {
    if (const int64_t rows = gather(call, expert)) run_expert(call, expert, rows, compute);
  }
  add_scaled(call.sum, 1.0f, *call.rows * hidden, call.hidden);
}

}  // namespace liveweight
