// Codes that are stored already quantized go from a piece to their place in the slot, and nothing else does.
#include "live/apply_stored.h"

#include <gtest/gtest.h>

namespace liveweight {
namespace {

// Of a [4, 3] tensor of bytes 1 to 12, the piece of the given rows, as one span of the slot.
std::vector<int> slot_after(TargetKind kind, int64_t row, int64_t rows, int64_t row_bytes) {
  std::vector<std::byte> data(13, std::byte{7});
  for (int i = 0; i < 12; ++i)
    data[i] = static_cast<std::byte>(kind == TargetKind::kCopy ? i + 1 : i % 8 - 8);
  Source source;
  source.dtype = DType::kI8;
  source.shape = {4, 3};
  source.rows = 4, source.cols = 3;
  Target target;
  target.kind = kind;
  target.spans = {{0, 4, 0, 3, 0, row_bytes}};
  std::vector<std::byte> slot(static_cast<size_t>(4 * row_bytes));
  copy_stored(source, target, {row, rows, 0, 3, data.data() + row * 3, 3}, slot.data());
  std::vector<int> bytes;
  for (const std::byte byte : slot) bytes.push_back(std::to_integer<int>(byte));
  return bytes;
}

TEST(ApplyStoredTest, APieceOfSomeRowsFillsOnlyThose) {
  EXPECT_EQ(slot_after(TargetKind::kCopy, 2, 1, 3), (std::vector<int>{0, 0, 0, 0, 0, 0, 7, 8, 9, 0, 0, 0}));
}

TEST(ApplyStoredTest, TheHighNibbleAfterAnOddLastCodeStaysZero) {
  EXPECT_EQ(slot_after(TargetKind::kPackCodes, 0, 4, 2),
            (std::vector<int>{0x10, 0x02, 0x43, 0x05, 0x76, 0x00, 0x21, 0x03}));
}

}  // namespace
}  // namespace liveweight
