#include "infer/rope.h"

#include <cmath>
#include <numbers>

namespace liveweight {
namespace {

// Llama 3's scaling: long wavelengths are stretched by `factor`, short ones kept, those between blended.
float scale_llama3(float frequency, const RopeParameters& p) {
  const auto factor = static_cast<float>(p.factor);
  const auto low = static_cast<float>(p.low_freq_factor);
  const auto high = static_cast<float>(p.high_freq_factor);
  const auto original = static_cast<float>(p.original_max_position);
  const float wavelength = 2 * std::numbers::pi_v<float> / frequency;
  if (wavelength > original / low) return frequency / factor;
  if (wavelength < original / high) return frequency;
  const float smooth = (original / wavelength - low) / (high - low);
  return (1 - smooth) * frequency / factor + smooth * frequency;
}

}  // namespace

std::vector<float> rope_frequencies(const RopeParameters& parameters, int64_t head_dim) {
  const auto rotated = static_cast<int64_t>(static_cast<double>(head_dim) * parameters.partial_rotary_factor);
  std::vector<float> frequencies;
  for (int64_t i = 0; i + 1 < rotated; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(rotated);
    float frequency = 1.0f / std::pow(static_cast<float>(parameters.theta), exponent);
    if (parameters.type == RopeParameters::Type::kLinear) frequency /= static_cast<float>(parameters.factor);
    if (parameters.type == RopeParameters::Type::kLlama3) frequency = scale_llama3(frequency, parameters);
    frequencies.push_back(frequency);
  }
  return frequencies;
}

RopeTable::RopeTable(const RopeParameters& parameters, int64_t head_dim, int64_t positions) {
  const std::vector<float> frequencies = rope_frequencies(parameters, head_dim);
  half_ = static_cast<int64_t>(frequencies.size());
  for (int64_t position = 0; position < positions; ++position) {
    for (const float frequency : frequencies) {
      const float angle = static_cast<float>(position) * frequency;
      cosines_.push_back(std::cos(angle));
      sines_.push_back(std::sin(angle));
    }
  }
}

void RopeTable::rotate(float* head, int64_t position) const {
  const float* cosine = cosines_.data() + position * half_;
  const float* sine = sines_.data() + position * half_;
  for (int64_t i = 0; i < half_; ++i) {
    const float first = head[i];
    const float second = head[i + half_];
    head[i] = first * cosine[i] - second * sine[i];
    head[i + half_] = second * cosine[i] + first * sine[i];
  }
}

}  // namespace liveweight
