#include "live/delta_checks.h"

#include <fmt/format.h>

#include <algorithm>

#include "live/apply.h"
#include "live/parallel_jobs.h"

namespace liveweight {
namespace {

constexpr size_t kElements = size_t{1} << 14;  // of one job

// Of positions that do not ascend, what is wrong at `i`.
Status position_error(const Source& source, std::span<const uint32_t> positions, size_t i) {
  const bool twice = positions[i] == positions[i - 1];
  return fail(twice ? ErrorCode::kDuplicateTensor : ErrorCode::kInvalidArgument,
              twice ? fmt::format("tensor {}: position {} comes twice", source.name, positions[i])
                    : fmt::format("tensor {}: positions must ascend, but {} follows {}", source.name,
                                  positions[i], positions[i - 1]),
              {source.name});
}

Status check_positions(const Source& source, std::span<const uint32_t> positions, size_t begin, size_t end) {
  const size_t first = std::max<size_t>(begin, 1);
  uint32_t descents = 0;
  for (size_t i = first; i < end; ++i) descents += positions[i] <= positions[i - 1] ? 1 : 0;
  for (size_t i = first; i < end && descents > 0; ++i) {
    if (positions[i] <= positions[i - 1]) return position_error(source, positions, i);
  }
  const int64_t size = source.rows * source.cols;
  if (positions[end - 1] < size) return {};
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("tensor {}: index {} is out of range of its {} elements", source.name,
                          positions[end - 1], size),
              {source.name});
}

// Whether any of them has all bits of an exponent.
template <typename Bits>
bool any_special(const std::byte* values, size_t count, Bits exponent) {
  const auto* bits = reinterpret_cast<const Bits*>(values);
  Bits found = 0;
  for (size_t i = 0; i < count; ++i) found |= (bits[i] & exponent) == exponent ? 1 : 0;
  return found != 0;
}

// A few values of a tensor come every other microsecond. Vectors of 512 bits, as absolute_maximum has them,
// slow a processor down for twenty of those when their use begins.
bool all_finite(DType dtype, const std::byte* values, size_t count) {
  if (dtype == DType::kF32) return !any_special<uint32_t>(values, count, 0x7f80'0000);
  return !any_special<uint16_t>(values, count, dtype == DType::kBF16 ? 0x7f80 : 0x7c00);
}

Status check_values(const Source& source, const SourceChanges& changes, size_t begin, size_t end) {
  const auto count = static_cast<int64_t>(end - begin);
  const auto each = static_cast<size_t>(element_bytes(source));
  const std::byte* const values = changes.values.data() + begin * each;
  if (all_finite(source.dtype, values, end - begin)) return {};
  auto fault = absolute_maximum({source.dtype, values, count, 0, 1, 0, count}).fault;
  const int64_t position = changes.positions[begin + static_cast<size_t>(fault->col)];
  fault->row = position / source.cols;
  fault->col = position % source.cols;
  return tl::unexpected(fault_error(source, *fault));
}

}  // namespace

Status check_facts(const Source& source, const TensorDelta& delta) {
  for (const Target& target : source.targets) {
    if (target.kind == TargetKind::kQuantize) continue;
    return fail(
        ErrorCode::kUnsupported,
        fmt::format("tensor {}: it is quantized already in the checkpoint; deltas go into weights that "
                    "are quantized here",
                    source.name),
        {source.name});
  }
  if (delta.dtype != source.dtype) {
    return fail(ErrorCode::kWrongDtype,
                fmt::format("tensor {}: expected changes of {}, got {}", source.name, to_string(source.dtype),
                            to_string(delta.dtype)),
                {source.name});
  }
  if (delta.shape != source.shape) {
    return fail(ErrorCode::kWrongShape,
                fmt::format("tensor {}: expected changes of shape {}, got {}", source.name,
                            to_string(source.shape), to_string(delta.shape)),
                {source.name});
  }
  const auto expected = delta.positions.size() * static_cast<size_t>(element_bytes(source));
  if (delta.values.size() == expected) return {};
  return fail(ErrorCode::kWrongShape,
              fmt::format("tensor {}: expected {} bytes of values for {} positions, got {}", source.name,
                          expected, delta.positions.size(), delta.values.size()),
              {source.name});
}

SourceChanges owned(const TensorDelta& delta, const Source& source) {
  const auto each = static_cast<size_t>(element_bytes(source));
  const bool aligned = reinterpret_cast<uintptr_t>(delta.values.data()) % each == 0;
  if (delta.owner && aligned) return {delta.positions, delta.values, delta.owner};
  const TensorDelta copy = make_delta(
      delta.name, delta.dtype, delta.shape,
      {{delta.positions.begin(), delta.positions.end()}, {delta.values.begin(), delta.values.end()}});
  return {copy.positions, copy.values, copy.owner};
}

bool is_checked_alone(const TensorDelta& delta) {
  return delta.positions.size() <= kElements;
}

Status check_changes(const Source& source, const SourceChanges& changes) {
  const size_t count = changes.positions.size();
  return run_jobs(static_cast<int64_t>((count + kElements - 1) / kElements), [&](int64_t i) -> Status {
    const size_t begin = static_cast<size_t>(i) * kElements, end = std::min(begin + kElements, count);
    LW_TRY(check_positions(source, changes.positions, begin, end));
    return check_values(source, changes, begin, end);
  });
}

}  // namespace liveweight
