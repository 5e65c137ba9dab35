#include "infer/calls.h"

#include <algorithm>

#include "infer/linear.h"
#include "infer/vector_kernels.h"

namespace liveweight {

void run(const EmbedCall& call, Compute& compute) {
  const int64_t width = call.embedding->format().cols;
  compute.for_each(call.input->rows, call.input->rows * width, [&](int, int64_t row) {
    dequantize_weight_row(call.embedding->view(), call.input->tokens[row], call.out + row * width);
  });
}

void run(const NormCall& call, Compute& compute) {
  dequantize_vector(call.weight->view(), call.weight_floats);
  compute.for_each(*call.rows, *call.rows * call.groups * call.width, [&](int, int64_t row) {
    for (int64_t group = 0; group < call.groups; ++group) {
      const int64_t at = row * call.stride + group * call.width;
      rms_norm(call.x + at, call.weight_floats, call.epsilon, call.width, call.out + at);
    }
  });
}

void run(const LinearCall& call, Compute& compute) {
  if (call.bias) dequantize_vector(call.bias->view(), call.bias_floats);
  LinearArguments arguments;
  arguments.x = call.x;
  arguments.tokens = *call.rows;
  arguments.y = call.y;
  arguments.y_stride = call.weight->format().rows;
  arguments.bias = call.bias ? call.bias_floats : nullptr;
  arguments.accumulate = call.accumulate;
  arguments.integers = call.integers;
  linear(call.weight->view(), arguments, compute);
}

void run(const GateCall& call, Compute& compute) {
  compute.for_each(*call.rows, *call.rows * call.width * 4, [&](int, int64_t row) {
    const float* gate = call.gate_up + row * 2 * call.width;
    silu_multiply(gate, gate + call.width, call.width, call.out + row * call.width);
  });
}

void run(const GatherCall& call, Compute&) {
  for (int64_t i = 0; i < call.input->logit_rows; ++i) {
    std::copy_n(call.x + call.input->logits_of[i] * call.width, call.width, call.out + i * call.width);
  }
}

}  // namespace liveweight
