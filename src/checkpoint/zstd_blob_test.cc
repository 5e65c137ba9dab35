#include "checkpoint/zstd_blob.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zstd.h>

#include <random>

namespace liveweight {
namespace {

using ::testing::HasSubstr;

std::vector<std::byte> random_bytes(size_t size) {
  std::mt19937 random(1);
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() % 16);
  return bytes;
}

// As a stream whose end its writer did not know.
std::vector<std::byte> unsized_frame(std::span<const std::byte> plain) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  std::vector<std::byte> out(ZSTD_compressBound(plain.size()) + 64);
  ZSTD_outBuffer to{out.data(), out.size(), 0};
  ZSTD_inBuffer all{plain.data(), plain.size(), 0}, nothing{nullptr, 0, 0};
  ZSTD_compressStream2(context, &to, &all, ZSTD_e_flush);
  ZSTD_compressStream2(context, &to, &nothing, ZSTD_e_end);
  ZSTD_freeCCtx(context);
  out.resize(to.pos);
  return out;
}

TEST(ZstdBlob, ComesBackWhetherItsFrameSaysItsSizeOrNot) {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{1'000'003}, size_t{5} << 20}) {
    const std::vector<std::byte> plain = random_bytes(size);
    for (const auto& frame : {zstd_compress(plain, 1).value(), unsized_frame(plain)}) {
      const auto blob = zstd_decompress(frame, size);
      ASSERT_TRUE(blob) << blob.error().message;
      EXPECT_TRUE(std::ranges::equal(blob->view(), plain));
    }
  }
}

TEST(ZstdBlob, MayBeOfSeveralFramesAndSomeToBeSkipped) {
  const std::vector<std::byte> plain = random_bytes(300'000);
  const std::span<const std::byte> first(plain.data(), 100'000), rest(plain.data() + 100'000, 200'000);
  const std::vector<std::byte> skipped = {std::byte{0x50}, std::byte{0x2a}, std::byte{0x4d},
                                          std::byte{0x18}, std::byte{1},    std::byte{0},
                                          std::byte{0},    std::byte{0},    std::byte{7}};
  const auto joined = [](std::initializer_list<std::vector<std::byte>> frames) {
    std::vector<std::byte> all;
    for (const auto& frame : frames) all.insert(all.end(), frame.begin(), frame.end());
    return all;
  };
  const auto sized = zstd_compress(first, 1).value(), more = zstd_compress(rest, 1).value();
  for (const auto& frames :
       {joined({sized, more}), joined({skipped, sized, more}), joined({sized, skipped, more}),
        joined({unsized_frame(first), more}), joined({sized, unsized_frame(rest), skipped})}) {
    const auto blob = zstd_decompress(frames, plain.size());
    ASSERT_TRUE(blob) << blob.error().message;
    EXPECT_TRUE(std::ranges::equal(blob->view(), plain));
    EXPECT_THAT(zstd_decompress(frames, plain.size() - 1).error().message, HasSubstr("more than"));
    for (const size_t cut : {frames.size() - 1, sized.size() + skipped.size() + 3}) {
      EXPECT_FALSE(zstd_decompress({frames.data(), cut}, plain.size())) << cut;
    }
  }
}

TEST(ZstdBlob, OverItsBoundIsRefused) {
  const std::vector<std::byte> plain = random_bytes(1'000'003);
  for (const auto& frame : {zstd_compress(plain, 1).value(), unsized_frame(plain)}) {
    for (const size_t most : {size_t{0}, size_t{10}, plain.size() - 1}) {
      const auto blob = zstd_decompress(frame, most);
      ASSERT_FALSE(blob) << most;
      EXPECT_EQ(blob.error().code, ErrorCode::kBadCheckpoint);
      EXPECT_THAT(blob.error().message, HasSubstr("more than"));
    }
  }
}

TEST(ZstdBlob, DamagedIsRefusedAsSuch) {
  const std::vector<std::byte> plain = random_bytes(100'000);
  for (const auto& frame : {zstd_compress(plain, 1).value(), unsized_frame(plain)}) {
    for (const size_t length : {size_t{0}, size_t{3}, size_t{9}, frame.size() / 2, frame.size() - 1}) {
      EXPECT_FALSE(zstd_decompress({frame.data(), length}, plain.size())) << length;
    }
    std::vector<std::byte> longer = frame;
    longer.push_back(std::byte{0});
    EXPECT_FALSE(zstd_decompress(longer, plain.size()));
  }
}

}  // namespace
}  // namespace liveweight
