#include "liveweight/delta.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zstd.h>

#include <cstring>
#include <random>

namespace liveweight {
namespace {

template <typename T>
TensorView view_of(const std::vector<T>& data, DType dtype, Shape shape) {
  return {dtype, std::move(shape), reinterpret_cast<const std::byte*>(data.data()), data.size() * sizeof(T)};
}

class DeltaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    root_ = std::filesystem::path(::testing::TempDir()) /
            (std::string("delta_") + info->name() + std::to_string(getpid()));
    std::filesystem::create_directories(root_);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  using Tensors = std::vector<std::pair<std::string, TensorView>>;

  std::filesystem::path checkpoint(const std::string& name, const Tensors& tensors) {
    std::filesystem::create_directories(root_ / name);
    EXPECT_TRUE(write_safetensors(root_ / name / "model.safetensors", tensors));
    return root_ / name;
  }

  std::filesystem::path file(const Tensors& tensors, std::map<std::string, std::string> metadata = {}) {
    EXPECT_TRUE(write_safetensors(root_ / "delta.safetensors", tensors, metadata));
    return root_ / "delta.safetensors";
  }

  Result<TensorDelta> decode(const std::filesystem::path& path, const TensorView& base) {
    auto delta = DeltaDirectory::open(path);
    if (!delta) return tl::unexpected(delta.error());
    return delta->decode("w", base);
  }

  // The delta of one slime blob that holds `plain`.
  std::filesystem::path blob(const char* encoding, const std::vector<uint8_t>& plain) {
    std::vector<uint8_t> out(ZSTD_compressBound(plain.size()));
    out.resize(ZSTD_compress(out.data(), out.size(), plain.data(), plain.size(), 1));
    return file({{"w", view_of(out, DType::kU8, {static_cast<int64_t>(out.size())})}},
                {{"delta_encoding", encoding},
                 {"version", "1"},
                 {"base_version", "0"},
                 {"compression_format", "zstd"},
                 {"checksum_format", "adler32"}});
  }

  std::filesystem::path root_;
};

TEST_F(DeltaTest, EveryDtypeAndEncodingComesBackBitForBit) {
  std::mt19937 random(1);
  for (int d = 0; d < 20; ++d) {
    const auto dtype = static_cast<DType>(d);
    const int64_t elements = 3 * 41 * 8;
    std::vector<uint8_t> old(*bytes_of(dtype, elements)), updated;
    for (auto& byte : old) byte = static_cast<uint8_t>(random());
    updated = old;
    for (int i = 0; i < 40; ++i)
      updated[random() % updated.size()] ^= static_cast<uint8_t>(1 + random() % 255);
    const auto before = checkpoint("old", {{"w", view_of(old, dtype, {3, 41, 8})}});
    for (const auto encoding : {DeltaEncoding::kXor, DeltaEncoding::kOverwrite, DeltaEncoding::kIndices}) {
      for (const char* checksum : {"xxh3-128", "adler32"}) {
        const auto directory = root_ / "delta", out = root_ / "out";
        std::filesystem::remove_all(directory);
        std::filesystem::remove_all(out);
        auto writer = DeltaWriter::create(directory, {encoding, "8", "7", checksum});
        ASSERT_TRUE(writer);
        const auto count =
            writer->add("w", view_of(old, dtype, {3, 41, 8}), view_of(updated, dtype, {3, 41, 8}));
        ASSERT_TRUE(count) << count.error().message;
        ASSERT_TRUE(writer->finish());
        const std::filesystem::path deltas[] = {directory};
        const auto report = apply_deltas(before, deltas, out);
        ASSERT_TRUE(report) << report.error().message;
        EXPECT_EQ(report->changed_elements, *count);
        const auto opened = Checkpoint::open(out);
        ASSERT_TRUE(opened);
        EXPECT_EQ(*version_of(*opened), "8");
        EXPECT_EQ(std::memcmp(opened->find("w")->view.data, updated.data(), updated.size()), 0) << d;
      }
    }
  }
}

TEST_F(DeltaTest, ZerosOfBothSignsAndNaNsAreDifferences) {
  const std::vector<uint16_t> old{0x0000, 0x7fc0, 0x3f80, 0x8000}, updated{0x8000, 0x7fc1, 0x3f80, 0x8000};
  const auto delta =
      compare_tensors("w", view_of(old, DType::kBF16, {4}), view_of(updated, DType::kBF16, {4}));
  ASSERT_TRUE(delta);
  EXPECT_EQ(std::vector(delta->positions.begin(), delta->positions.end()), (std::vector<uint32_t>{0, 1}));
}

TEST_F(DeltaTest, ATensorWithoutChangesIsLeftOutAndAnEmptyDeltaApplies) {
  const std::vector<uint16_t> same(100, 7);
  const auto view = view_of(same, DType::kBF16, {100});
  const auto before = checkpoint("old", {{"w", view}});
  auto writer = DeltaWriter::create(root_ / "delta", {});
  ASSERT_TRUE(writer);
  EXPECT_EQ(writer->add("w", view, view).value(), 0u);
  ASSERT_TRUE(writer->finish());
  const std::filesystem::path deltas[] = {root_ / "delta"};
  const auto report = apply_deltas(before, deltas, before);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->version, "1");
  EXPECT_EQ(*version_of(*Checkpoint::open(before)), "1");
}

TEST_F(DeltaTest, IndicesOfEveryIntegerWidthFlatOrByRowAndColumnInAnyOrder) {
  const std::vector<uint16_t> base(12, 1), values{20, 10};
  const auto tensor = view_of(base, DType::kBF16, {3, 4});
  const auto check = [&](const TensorView& indices) {
    const auto delta =
        decode(file({{"w.indices", indices}, {"w.values", view_of(values, DType::kBF16, {2})}}), tensor);
    ASSERT_TRUE(delta) << delta.error().message;
    std::vector<uint16_t> patched = base;
    patch(*delta, std::as_writable_bytes(std::span(patched)));
    EXPECT_EQ(patched[9], 20);
    EXPECT_EQ(patched[2], 10);
  };
  check(view_of(std::vector<uint8_t>{9, 2}, DType::kU8, {2}));
  check(view_of(std::vector<int8_t>{9, 2}, DType::kI8, {2}));
  check(view_of(std::vector<uint16_t>{9, 2}, DType::kU16, {2}));
  check(view_of(std::vector<int16_t>{9, 2}, DType::kI16, {2}));
  check(view_of(std::vector<uint32_t>{9, 2}, DType::kU32, {2}));
  check(view_of(std::vector<int32_t>{9, 2}, DType::kI32, {2}));
  check(view_of(std::vector<uint64_t>{9, 2}, DType::kU64, {2}));
  check(view_of(std::vector<int64_t>{2, 1, 0, 2}, DType::kI64, {2, 2}));
}

TEST_F(DeltaTest, BadIndicesAreRefusedByName) {
  const std::vector<uint16_t> base(12, 1), values{20, 10}, one{5};
  const auto tensor = view_of(base, DType::kBF16, {3, 4});
  const auto error_of = [&](const TensorView& indices, const TensorView& new_values) {
    const auto delta = decode(file({{"w.indices", indices}, {"w.values", new_values}}), tensor);
    EXPECT_FALSE(delta);
    return delta ? Error{} : delta.error();
  };
  const auto two = view_of(values, DType::kBF16, {2});
  EXPECT_THAT(error_of(view_of(std::vector<uint32_t>{2, 12}, DType::kU32, {2}), two).message,
              ::testing::HasSubstr("12 is out of range"));
  EXPECT_EQ(error_of(view_of(std::vector<int32_t>{3, 3}, DType::kI32, {2}), two).code,
            ErrorCode::kDuplicateTensor);
  EXPECT_THAT(error_of(view_of(std::vector<int32_t>{-1, 3}, DType::kI32, {2}), two).message,
              ::testing::HasSubstr("negative"));
  EXPECT_THAT(error_of(view_of(std::vector<int32_t>{0, 4, 0, 0}, DType::kI32, {2, 2}), two).message,
              ::testing::HasSubstr("[0, 4]"));
  EXPECT_EQ(
      error_of(view_of(std::vector<uint32_t>{2, 3}, DType::kU32, {2}), view_of(one, DType::kBF16, {1})).code,
      ErrorCode::kWrongShape);
  EXPECT_EQ(
      error_of(view_of(std::vector<uint32_t>{2, 3}, DType::kU32, {2}), view_of(values, DType::kF16, {2}))
          .code,
      ErrorCode::kWrongDtype);
  EXPECT_EQ(error_of(view_of(std::vector<float>{2, 3}, DType::kF32, {2}), two).code, ErrorCode::kWrongDtype);
  EXPECT_FALSE(
      DeltaDirectory::open(file({{"w.indices", view_of(std::vector<uint8_t>{1}, DType::kU8, {1})}})));
}

TEST_F(DeltaTest, AByteThatSplitsAnElementTakesTheOtherFromTheBase) {
  const std::vector<uint16_t> base{0x1122, 0x3344};
  const auto delta =
      decode(blob("overwrite", {1, 0, 0, 0, 3, 0, 0, 0, 0x55}), view_of(base, DType::kBF16, {2}));
  ASSERT_TRUE(delta) << delta.error().message;
  std::vector<uint16_t> patched = base;
  patch(*delta, std::as_writable_bytes(std::span(patched)));
  EXPECT_EQ(patched, (std::vector<uint16_t>{0x1122, 0x5544}));
}

TEST_F(DeltaTest, DamagedAndOversizedBlobsAreRefused) {
  const std::vector<uint16_t> base{0x1122, 0x3344};
  const auto tensor = view_of(base, DType::kBF16, {2});
  EXPECT_FALSE(decode(blob("xor", {1, 2, 3}), tensor));
  EXPECT_FALSE(decode(blob("overwrite", {2, 0, 0, 0, 3, 0, 0, 0, 1}), tensor));
  EXPECT_FALSE(decode(blob("overwrite", {1, 0, 0, 0, 4, 0, 0, 0, 1}), tensor));
  EXPECT_FALSE(decode(blob("overwrite", {2, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0, 1, 2}), tensor));
  const auto bomb = decode(blob("xor", std::vector<uint8_t>(1 << 20)), tensor);
  ASSERT_FALSE(bomb);
  EXPECT_THAT(bomb.error().message, ::testing::HasSubstr("more than the 4 bytes"));
  EXPECT_FALSE(DeltaDirectory::open(blob("zip", {})));
}

TEST_F(DeltaTest, ADamagedPayloadOfIndicesIsADigestMismatch) {
  const std::vector<uint16_t> base(4, 1), values{9};
  const std::vector<uint32_t> indices{2};
  const auto path = file(
      {{"w.indices", view_of(indices, DType::kU32, {1})}, {"w.values", view_of(values, DType::kBF16, {1})}},
      {{"delta_encoding", "indices"}, {"checksum_format", "adler32"}, {"w", "00000000"}});
  const auto delta = decode(path, view_of(base, DType::kBF16, {4}));
  ASSERT_FALSE(delta);
  EXPECT_EQ(delta.error().code, ErrorCode::kDigestMismatch);
}

TEST_F(DeltaTest, ADeltaOnAnotherBaseIsStaleAndAFullCheckpointRestartsTheChain) {
  const std::vector<uint16_t> old(64, 1), updated(64, 2);
  const auto a = view_of(old, DType::kBF16, {64}), b = view_of(updated, DType::kBF16, {64});
  const auto before = checkpoint("old", {{"w", a}});
  for (const char* version : {"1", "3"}) {
    auto writer = DeltaWriter::create(root_ / version, {DeltaEncoding::kXor, version, "0"});
    ASSERT_TRUE(writer && writer->add("w", a, b) && writer->finish());
  }
  const std::filesystem::path gap[] = {root_ / "1", root_ / "3"},
                              restart[] = {root_ / "1", before, root_ / "3"};
  const auto stale = apply_deltas(before, gap, root_ / "out");
  ASSERT_FALSE(stale);
  EXPECT_EQ(stale.error().code, ErrorCode::kStaleVersion);
  EXPECT_FALSE(std::filesystem::exists(root_ / "out"));
  const auto good = apply_deltas(before, restart, root_ / "out");
  ASSERT_TRUE(good) << good.error().message;
  EXPECT_EQ(good->deltas, 1u);
}

TEST_F(DeltaTest, AnUnfinishedWriterLeavesNothing) {
  { ASSERT_TRUE(DeltaWriter::create(root_ / "delta", {})); }
  EXPECT_TRUE(std::filesystem::is_empty(root_));
}

TEST_F(DeltaTest, ATensorIsAddedOnce) {
  const std::vector<uint16_t> data(4);
  auto writer = DeltaWriter::create(root_ / "delta", {});
  ASSERT_TRUE(writer);
  const TensorView tensor = view_of(data, DType::kBF16, {4});
  ASSERT_TRUE(writer->add("w", tensor, tensor));
  EXPECT_EQ(writer->add("w", tensor, tensor).error().code, ErrorCode::kDuplicateTensor);
}

TEST_F(DeltaTest, AnUnknownChecksumIsRefusedByName) {
  const auto writer = DeltaWriter::create(root_ / "delta", {DeltaEncoding::kXor, "1", "0", "blake3"});
  ASSERT_FALSE(writer);
  EXPECT_EQ(writer.error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace liveweight
