// Groups that lie apart in a source tensor, quantized many at a time: gathered into one row, quantized there,
// and put where they belong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "quantize/quantize.h"

namespace liveweight {

class GatheredGroups {
 public:
  // Of a format whose units are groups.
  GatheredGroups(const SlotRegion& region, DType source);

  // Whether the region holds all of the group that begins there, and it is as long as the scheme says.
  bool takes(int64_t row, int64_t col) const;

  // Where the elements of that group are to be written before the next call. Quantizes what came so far when
  // there is no room.
  std::byte* add(int64_t row, int64_t col);

  // Quantizes what came since. The first fault of all groups; those that came with it may not be written.
  std::optional<QuantizeFault> finish();

 private:
  struct Group {
    int64_t row, col;
    std::byte* code;
  };
  void flush();
  void put(const Group& group, int64_t index) const;

  const SlotRegion region_;
  const KernelFormat& format_;
  const DType source_;
  const int64_t size_;
  const int64_t code_bits_;
  const size_t source_bytes_, code_bytes_;  // of a group
  const KernelFormat row_;                  // of all that are gathered
  std::vector<std::byte> memory_;
  std::byte* slot_;
  std::byte* elements_;
  std::vector<Group> groups_;
  std::optional<QuantizeFault> fault_;
};

}  // namespace liveweight
