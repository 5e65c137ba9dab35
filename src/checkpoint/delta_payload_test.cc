// What a delta's payload and metadata may not say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "base/temporary_folder.h"
#include "checkpoint/checksum.h"
#include "checkpoint/decode.h"
#include "liveweight/delta.h"

namespace liveweight {
namespace {

using ::testing::HasSubstr;

template <typename T>
TensorView view_of(const std::vector<T>& data, DType dtype, Shape shape) {
  return {dtype, std::move(shape), reinterpret_cast<const std::byte*>(data.data()), data.size() * sizeof(T)};
}

Blob blob_of(const std::vector<uint8_t>& bytes) {
  Blob blob{std::make_shared<std::byte[]>(bytes.size()), bytes.size()};
  std::memcpy(blob.data.get(), bytes.data(), bytes.size());
  return blob;
}

const std::vector<uint16_t> kBase{0x1122, 0x3344, 0x5566, 0x7788, 0x99aa};

TensorView base() {
  return view_of(kBase, DType::kBF16, {5});
}

std::vector<uint16_t> patched(const TensorDelta& delta) {
  std::vector<uint16_t> values = kBase;
  patch(delta, std::as_writable_bytes(std::span(values)));
  return values;
}

TEST(DeltaPayload, XorIsAsLongAsTheTensor) {
  for (const size_t bytes : {8, 9, 11, 12}) {
    EXPECT_THAT(decode_xor("w", base(), blob_of(std::vector<uint8_t>(bytes))).error().message,
                HasSubstr("expected 10 bytes"));
  }
  // One change at each place, beside equal elements that are skipped eight bytes at once.
  for (size_t byte = 0; byte < 10; ++byte) {
    std::vector<uint8_t> difference(10);
    difference[byte] = 0xff;
    std::vector<uint16_t> expected = kBase;
    reinterpret_cast<uint8_t*>(expected.data())[byte] ^= 0xff;
    EXPECT_EQ(patched(decode_xor("w", base(), blob_of(difference)).value()), expected) << byte;
  }
}

TEST(DeltaPayload, OverwriteIsAsLongAsItsCountSays) {
  const auto error_of = [](const std::vector<uint8_t>& bytes) {
    const auto delta = decode_overwrite("w", base(), blob_of(bytes));
    return delta ? "" : delta.error().message;
  };
  EXPECT_EQ(error_of({1, 0, 0, 0, 9, 0, 0, 0, 5}), "");
  EXPECT_THAT(error_of({1, 0, 0, 0, 9, 0, 0, 0}), HasSubstr("expected 9 bytes"));
  EXPECT_THAT(error_of({1, 0, 0, 0, 9, 0, 0, 0, 5, 6}), HasSubstr("expected 9 bytes"));
  EXPECT_THAT(error_of({1, 0, 0}), HasSubstr("expected 4 bytes"));
  EXPECT_THAT(error_of({1, 0, 0, 0, 10, 0, 0, 0, 5}), HasSubstr("index 10 is out of range"));
}

TEST(DeltaPayload, OverwriteOfBothBytesOfAnElementIsOneChange) {
  const auto delta =
      decode_overwrite("w", base(), blob_of({2, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 0xaa, 0xbb})).value();
  EXPECT_EQ(delta.positions.size(), 1u);
  EXPECT_EQ(patched(delta)[1], 0xaabb);
}

TEST(DeltaPayload, IndicesLieInTheTensor) {
  const std::vector<uint16_t> values{1, 2};
  const auto error_of = [&](const TensorView& indices) {
    const auto delta = decode_indices("w", base(), indices, view_of(values, DType::kBF16, {2}), nullptr);
    return delta ? "" : delta.error().message;
  };
  EXPECT_EQ(error_of(view_of(std::vector<uint32_t>{0, 4}, DType::kU32, {2})), "");
  EXPECT_THAT(error_of(view_of(std::vector<uint32_t>{0, 5}, DType::kU32, {2})), HasSubstr("index 5 is out"));
  EXPECT_THAT(error_of(view_of(std::vector<uint32_t>{5, 0}, DType::kU32, {2})), HasSubstr("index 5 is out"));
  EXPECT_THAT(error_of(view_of(std::vector<int64_t>{0, 5}, DType::kI64, {2})), HasSubstr("index 5 is out"));
  EXPECT_THAT(error_of(view_of(std::vector<uint64_t>{0, uint64_t{1} << 32}, DType::kU64, {2})),
              HasSubstr("is out of range"));
  EXPECT_THAT(error_of(view_of(std::vector<int64_t>{0, 0, 1, 0}, DType::kI64, {2, 2})), HasSubstr("[1, 0]"));
  EXPECT_THAT(error_of(view_of(std::vector<int64_t>{0, 0, 0, 5}, DType::kI64, {2, 2})), HasSubstr("[0, 5]"));
  EXPECT_THAT(error_of(view_of(std::vector<int64_t>(6), DType::kI64, {2, 3})), HasSubstr("[n] or [n, 2]"));
}

TEST(DeltaPayload, IndicesThatAreNotAlignedAreCopied) {
  std::vector<std::byte> bytes(9);
  const uint32_t positions[] = {1, 3};
  std::memcpy(bytes.data() + 1, positions, sizeof positions);
  const std::vector<uint16_t> values{7, 8};
  const auto delta = decode_indices("w", base(), {DType::kU32, {2}, bytes.data() + 1, 8},
                                    view_of(values, DType::kBF16, {2}), nullptr)
                         .value();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(delta.positions.data()) % alignof(uint32_t), 0u);
  EXPECT_EQ(patched(delta)[3], 8);
}

TEST(DeltaPayload, ComparedTensorsAreOfOneFormAndEveryCellCounts) {
  EXPECT_EQ(compare_tensors("w", base(), view_of(kBase, DType::kF16, {5})).error().code,
            ErrorCode::kWrongDtype);
  EXPECT_EQ(compare_tensors("w", base(), view_of(kBase, DType::kBF16, {5, 1})).error().code,
            ErrorCode::kWrongShape);
  std::mt19937 random(1);
  for (const DType dtype : {DType::kU8, DType::kBF16, DType::kF32, DType::kF64}) {
    const auto cell = static_cast<size_t>(cell_bytes(dtype));
    std::vector<uint8_t> old(cell * 300), updated;
    for (uint8_t& byte : old) byte = static_cast<uint8_t>(random());
    for (uint32_t i = 0; i < 300; ++i) {
      updated = old;
      updated[i * cell + i % cell] ^= 1;
      const TensorDelta delta =
          compare_tensors("w", view_of(old, dtype, {300}), view_of(updated, dtype, {300})).value();
      ASSERT_EQ(std::vector(delta.positions.begin(), delta.positions.end()), std::vector{i});
    }
  }
}

class DeltaFileTest : public ::testing::Test {
 protected:
  using Metadata = std::map<std::string, std::string>;

  Metadata metadata() const {
    const auto bytes = std::as_bytes(std::span(kBase));
    return {{"delta_encoding", "xor"},      {"version", "1"},
            {"base_version", "0"},          {"compression_format", "zstd"},
            {"checksum_format", "adler32"}, {"w", checksum_hex("adler32", std::span(&bytes, 1))}};
  }

  // A delta of one tensor that changes nothing.
  std::filesystem::path write(const Metadata& metadata, DType dtype = DType::kU8) const {
    const auto frame = zstd_compress(std::vector<std::byte>(10), 1).value();
    const auto bytes = static_cast<int64_t>(frame.size());
    const std::pair<std::string, TensorView> tensors[] = {
        {"w", {dtype, {bytes}, frame.data(), frame.size()}}};
    EXPECT_TRUE(write_safetensors(path_, tensors, metadata));
    return path_;
  }
  std::string refusal(const Metadata& metadata, DType dtype = DType::kU8) const {
    const auto delta = DeltaDirectory::open(write(metadata, dtype));
    return delta ? "" : delta.error().message;
  }

  const TemporaryFolder folder_ = TemporaryFolder::make("liveweight-test").value();
  const std::filesystem::path path_ = folder_.path() / "delta.safetensors";
};

TEST_F(DeltaFileTest, SaysAllThatItsEncodingNeeds) {
  EXPECT_EQ(refusal(metadata()), "");
  for (const char* key : {"version", "base_version", "checksum_format"}) {
    Metadata without = metadata();
    without.erase(key);
    EXPECT_THAT(refusal(without), HasSubstr(std::string("metadata.") + key + " is missing"));
  }
  for (const auto& [key, named] : {std::pair("compression_format", "compression_format: expected zstd"),
                                   {"checksum_format", "checksum_format: other is not"},
                                   {"delta_encoding", "expected xor, overwrite or indices, got other"}}) {
    Metadata other = metadata();
    other[key] = "other";
    EXPECT_THAT(refusal(other), HasSubstr(named));
  }
  EXPECT_THAT(refusal({{"delta_encoding", "indices"}, {"checksum_format", "other"}}),
              HasSubstr("checksum_format: other is not"));
  EXPECT_THAT(refusal(metadata(), DType::kI8), HasSubstr("expected U8, a compressed blob"));
  EXPECT_THAT(refusal({{"delta_encoding", "indices"}}), HasSubstr("names that end in .indices or .values"));
}

TEST_F(DeltaFileTest, VerifiesWhatComesOfIt) {
  const DeltaDirectory delta = DeltaDirectory::open(write(metadata())).value();
  EXPECT_TRUE(delta.verify("w", std::as_bytes(std::span(kBase))));
  std::vector<uint16_t> other = kBase;
  other[4] ^= 1;
  EXPECT_EQ(delta.verify("w", std::as_bytes(std::span(other))).error().code, ErrorCode::kDigestMismatch);
  Metadata without = metadata();
  without.erase("w");
  const DeltaDirectory unsure = DeltaDirectory::open(write(without)).value();
  EXPECT_THAT(unsure.verify("w", std::as_bytes(std::span(kBase))).error().message,
              HasSubstr("its checksum is missing"));
}

TEST_F(DeltaFileTest, IsOfATensorThatTheCheckpointHasAndOfItsBits) {
  std::filesystem::create_directories(folder_.path() / "base");
  const std::filesystem::path deltas[] = {write(metadata())}, out = folder_.path() / "out";
  const auto error_on = [&](const std::string& name, const std::vector<uint16_t>& data) {
    const std::pair<std::string, TensorView> tensors[] = {{name, view_of(data, DType::kBF16, {5})}};
    EXPECT_TRUE(write_safetensors(folder_.path() / "base/model.safetensors", tensors));
    const auto report = apply_deltas(folder_.path() / "base", deltas, out);
    EXPECT_EQ(std::filesystem::exists(out), report.has_value());
    return report ? ErrorCode::kInternal : report.error().code;
  };
  EXPECT_EQ(error_on("v", kBase), ErrorCode::kUnknownTensor);
  std::vector<uint16_t> other = kBase;
  other[0] ^= 1;
  EXPECT_EQ(error_on("w", other), ErrorCode::kDigestMismatch);
  EXPECT_EQ(error_on("w", kBase), ErrorCode::kInternal) << "nothing is wrong with it";
}

TEST_F(DeltaFileTest, WithAChecksumOfAFormatThatItDoesNotNameIsRefused) {
  const uint16_t position = 1, value = 0x3f80;
  const std::pair<std::string, TensorView> tensors[] = {
      {"w.indices", {DType::kI16, {1}, reinterpret_cast<const std::byte*>(&position), 2}},
      {"w.values", {DType::kBF16, {1}, reinterpret_cast<const std::byte*>(&value), 2}}};
  ASSERT_TRUE(write_safetensors(path_, tensors, {{"w", "0123"}}));
  EXPECT_THAT(DeltaDirectory::open(path_).value().decode("w", base()).error().message,
              HasSubstr("metadata.checksum_format is missing"));
  ASSERT_TRUE(write_safetensors(path_, tensors, {}));
  EXPECT_EQ(patched(DeltaDirectory::open(path_).value().decode("w", base()).value())[1], value);
}

TEST(DeltaVersions, OfDigitsDifferInTheirValueAndOthersInTheirLetters) {
  EXPECT_TRUE(same_version("7", "007"));
  EXPECT_TRUE(same_version("0", "000"));
  EXPECT_TRUE(same_version("", "7"));
  EXPECT_TRUE(same_version("7", ""));
  EXPECT_FALSE(same_version("7", "70"));
  EXPECT_FALSE(same_version("0a", "a"));
}

TEST(DeltaWriting, IsOfVersionsWithNamesIntoADirectoryWithoutFilesInShards) {
  const TemporaryFolder folder = TemporaryFolder::make("liveweight-test").value();
  EXPECT_EQ(DeltaWriter::create(folder.path() / "d", {DeltaEncoding::kXor, "", "0"}).error().code,
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(DeltaWriter::create(folder.path() / "d", {DeltaEncoding::kXor, "1", ""}).error().code,
            ErrorCode::kInvalidArgument);
  DeltaWriteOptions options;
  options.shard_bytes = 1;
  auto writer = DeltaWriter::create(folder.path() / "d", options);
  ASSERT_TRUE(writer);
  std::vector<uint16_t> updated = kBase;
  updated[2] ^= 1;
  for (const char* name : {"z", "a", "m"}) {
    ASSERT_TRUE(writer->add(name, base(), view_of(updated, DType::kBF16, {5})));
  }
  ASSERT_TRUE(writer->finish());
  EXPECT_TRUE(std::filesystem::exists(folder.path() / "d/model-00002-of-00003.safetensors"));
  const auto delta = DeltaDirectory::open(folder.path() / "d").value();
  EXPECT_EQ(delta.names(), (std::vector<std::string>{"a", "m", "z"}));
  for (const std::string& name : delta.names())
    EXPECT_EQ(patched(delta.decode(name, base()).value()), updated);
  EXPECT_THAT(DeltaWriter::create(folder.path() / "d", options).error().message, HasSubstr("it holds files"));
}

}  // namespace
}  // namespace liveweight
