// The limit of a product of int8 weights with int8 activations.
#pragma once

#include <cstdint>

namespace liveweight::bench {

// Multiplies int8 numbers and adds them to int32 sums `count` times in registers, with all threads of the
// shared pool. Returns a number that depends on every one.
int32_t multiply_add_integers(int64_t count);

}  // namespace liveweight::bench
