// Headers that the format forbids are refused by name, odd ones that it allows are read, and what is written
// comes back.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <optional>

#include "liveweight/checkpoint.h"

namespace liveweight {
namespace {

std::vector<std::byte> file_of(const std::string& header, uint64_t length, size_t data) {
  std::vector<std::byte> bytes(8 + header.size() + data);
  std::memcpy(bytes.data(), &length, sizeof length);
  std::memcpy(bytes.data() + 8, header.data(), header.size());
  return bytes;
}

Result<SafetensorsHeader> parse(const std::string& header, size_t data) {
  const auto bytes = file_of(header, header.size(), data);
  return parse_safetensors_header(bytes, bytes.size(), "f.safetensors");
}

std::string tensor(const std::string& name, const std::string& dtype, const std::string& shape,
                   const std::string& offsets) {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets +
         "}";
}

struct Malformed {
  const char* what;
  std::string header;
  size_t data;
  const char* named;
};

const Malformed kMalformed[] = {
    {"not UTF-8", "{\"\xff\":1}", 0, "JSON"},
    {"not JSON", "{", 0, "JSON"},
    {"empty header", "", 0, "JSON"},
    {"two values", "{} {}", 0, "JSON"},
    {"nested too deep", std::string(100000, '['), 0, "JSON"},
    {"not an object", "[]", 0, "object"},
    {"tensor is no object", R"({"a":1})", 0, "tensor a"},
    {"duplicate names",
     "{" + tensor("a", "U8", "[1]", "[0,1]") + "," + tensor("a", "U8", "[1]", "[1,2]") + "}", 2,
     "a is there twice"},
    {"metadata twice", R"({"__metadata__":{},"__metadata__":{}})", 0, "__metadata__ is there twice"},
    {"metadata of numbers", R"({"__metadata__":{"k":1}})", 0, "__metadata__.k"},
    {"metadata a list", R"({"__metadata__":[]})", 0, "__metadata__"},
    {"duplicate metadata", R"({"__metadata__":{"k":"1","k":"2"}})", 0, "__metadata__.k"},
    {"unknown dtype", "{" + tensor("a", "F7", "[1]", "[0,1]") + "}", 1, "F7"},
    {"dtype in small letters", "{" + tensor("a", "u8", "[1]", "[0,1]") + "}", 1, "u8"},
    {"dtype a number", R"({"a":{"dtype":1,"shape":[1],"data_offsets":[0,1]}})", 1, "tensor a: dtype"},
    {"negative shape", "{" + tensor("a", "U8", "[-1]", "[0,1]") + "}", 1, "tensor a: shape"},
    {"two negatives", "{" + tensor("a", "U8", "[-1,-1]", "[0,1]") + "}", 1, "tensor a: shape"},
    {"fractional shape", "{" + tensor("a", "U8", "[1.0]", "[0,1]") + "}", 1, "tensor a: shape"},
    {"shape over 64 bits", "{" + tensor("a", "U8", "[18446744073709551616]", "[0,1]") + "}", 1,
     "f.safetensors"},
    {"overflowing shape", "{" + tensor("a", "U8", "[4294967296,4294967296]", "[0,1]") + "}", 1,
     "tensor a: shape"},
    {"bytes overflow", "{" + tensor("a", "F64", "[1152921504606846976]", "[0,0]") + "}", 0, "tensor a"},
    {"shape no list", "{" + tensor("a", "U8", "1", "[0,1]") + "}", 1, "tensor a: shape"},
    {"part of a byte", "{" + tensor("a", "F4", "[3]", "[0,2]") + "}", 2, "tensor a"},
    {"offsets the wrong way", "{" + tensor("a", "U8", "[1]", "[1,0]") + "}", 1, "tensor a: data_offsets"},
    {"one offset", "{" + tensor("a", "U8", "[1]", "[0]") + "}", 1, "tensor a: data_offsets"},
    {"three offsets", "{" + tensor("a", "U8", "[1]", "[0,1,2]") + "}", 1, "tensor a: data_offsets"},
    {"negative offset", "{" + tensor("a", "U8", "[2]", "[-1,1]") + "}", 1,
     "tensor a: data_offsets: expected [begin, end]"},
    {"over 2^53", "{" + tensor("a", "U8", "[0]", "[9007199254740993,9007199254740993]") + "}", 0,
     "tensor a: data_offsets: expected [begin, end]"},
    {"overlap", "{" + tensor("a", "U8", "[2]", "[0,2]") + "," + tensor("b", "U8", "[2]", "[1,3]") + "}", 3,
     "tensor b"},
    {"hole", "{" + tensor("a", "U8", "[1]", "[0,1]") + "," + tensor("b", "U8", "[1]", "[2,3]") + "}", 3,
     "tensor b"},
    {"hole at the beginning", "{" + tensor("a", "U8", "[1]", "[1,2]") + "}", 2, "tensor a"},
    {"dtype times shape", "{" + tensor("a", "F32", "[2]", "[0,4]") + "}", 4, "tensor a"},
    {"shape of fewer bytes", "{" + tensor("a", "F32", "[1]", "[0,8]") + "}", 8, "tensor a"},
    {"trailing bytes", "{" + tensor("a", "U8", "[1]", "[0,1]") + "}", 2, "too long"},
    {"missing bytes", "{" + tensor("a", "U8", "[2]", "[0,2]") + "}", 1, "truncated"},
    {"data of no tensor", "{}", 1, "too long"},
    {"extents over 2^60", "{" + tensor("a", "U8", "[2305843009213693952,0]", "[0,0]") + "}", 0,
     "tensor a: shape"},
    {"no shape", R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1, "tensor a: expected dtype, shape"},
    {"no offsets", R"({"a":{"dtype":"U8","shape":[0]}})", 0, "tensor a: expected dtype, shape"},
    {"no dtype", R"({"a":{"shape":[1],"data_offsets":[0,1]}})", 1, "tensor a: expected dtype"},
    {"field twice", R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1, "tensor a"},
    {"unknown field", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}})", 1, "unknown field x"},
};

TEST(SafetensorsHeaderTest, EveryMalformedHeaderIsRefusedByName) {
  for (const Malformed& item : kMalformed) {
    const auto header = parse(item.header, item.data);
    ASSERT_FALSE(header) << item.what;
    EXPECT_EQ(header.error().code, ErrorCode::kBadCheckpoint) << item.what;
    EXPECT_NE(header.error().message.find(item.named), std::string::npos)
        << item.what << ": " << header.error().message;
    EXPECT_EQ(header.error().message.find("f.safetensors"), 0u) << item.what;
  }
}

TEST(SafetensorsHeaderTest, LengthsThatTheFileCannotHoldAreRefused) {
  for (const auto& [length, words] : {std::pair{uint64_t{3}, "past the end"},
                                      {uint64_t{10}, "past the end"},
                                      {uint64_t{100'000'000}, "past the end"},
                                      {uint64_t{100'000'001}, "over the limit"},
                                      {uint64_t{1} << 63, "over the limit"},
                                      {UINT64_MAX, "over the limit"}}) {
    const auto bytes = file_of("{}", length, 0);
    const auto header = parse_safetensors_header(bytes, bytes.size(), "f");
    ASSERT_FALSE(header) << length;
    EXPECT_NE(header.error().message.find(words), std::string::npos) << header.error().message;
  }
  for (size_t size = 0; size < 8; ++size) {
    const std::vector<std::byte> bytes(size);
    EXPECT_FALSE(parse_safetensors_header(bytes, size, "f")) << size;
  }
}

TEST(SafetensorsHeaderTest, ManyOverlappingTensorsAreRefused) {
  std::string header = "{";
  for (int i = 0; i < 100'000; ++i) header += tensor(std::to_string(i), "U8", "[1]", "[0,1]") + ",";
  header.back() = '}';
  EXPECT_FALSE(parse(header, 1));
}

TEST(SafetensorsHeaderTest, EveryOddButLegalHeaderIsRead) {
  const std::pair<std::string, size_t> legal[] = {
      {"{}", 0},
      {" \n\t{}   ", 0},
      {R"({"__metadata__":{}})", 0},
      {"{" + tensor("rank 0", "F32", "[]", "[0,4]") + "}", 4},
      {"{" + tensor("empty", "F32", "[0,9]", "[0,0]") + "}", 0},
      {"{" + tensor("z", "U8", "[0]", "[1,1]") + "," + tensor("a", "U8", "[1]", "[0,1]") + "}", 1},
      {"{" + tensor("b", "U8", "[1]", "[1,2]") + "," + tensor("a", "U8", "[1]", "[0,1]") + "}", 2},
      {"{" + tensor("nibbles", "F4", "[4]", "[0,2]") + "}", 2},
      {"{" + tensor("", "U8", "[1]", "[0,1]") + "}", 1},
      {"{" + tensor("\\u00e9", "U8", "[1]", "[0,1]") + "}", 1},
  };
  for (const auto& [header, data] : legal) {
    const auto parsed = parse(header, data);
    EXPECT_TRUE(parsed) << header << ": " << parsed.error().message;
  }
}

TEST(SafetensorsHeaderTest, NamesAreUnescapedAndLiveAsLongAsTheHeader) {
  std::optional<SafetensorsHeader> kept;
  {
    auto parsed = parse("{" + tensor("a\\\"\\u00e9", "U8", "[1]", "[0,1]") + "," +
                            tensor("b", "U8", "[1,1,1,1,1]", "[1,2]") + "}",
                        2);
    ASSERT_TRUE(parsed) << parsed.error().message;
    kept = *parsed;
  }
  EXPECT_EQ(kept->tensors[0].name, "a\"\u00e9");
  EXPECT_EQ(kept->tensors[1].name, "b");
  EXPECT_EQ(kept->tensors[1].shape, (Shape{1, 1, 1, 1, 1}));
}

TEST(SafetensorsHeaderTest, EveryDtypeOfTheFormatIsRead) {
  const std::pair<const char*, int> kBits[] = {{"BOOL", 8},    {"F4", 4},   {"F6_E2M3", 6}, {"F6_E3M2", 6},
                                               {"U8", 8},      {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8},
                                               {"F8_E8M0", 8}, {"I16", 16}, {"U16", 16},    {"F16", 16},
                                               {"BF16", 16},   {"I32", 32}, {"U32", 32},    {"F32", 32},
                                               {"C64", 64},    {"F64", 64}, {"I64", 64},    {"U64", 64}};
  for (const auto& [dtype, bits] : kBits) {
    const std::string header = "{" + tensor("a", dtype, "[8]", "[0," + std::to_string(bits) + "]") + "}";
    EXPECT_TRUE(parse(header, static_cast<size_t>(bits))) << dtype;
  }
}

TEST(SafetensorsFileTest, WhatIsWrittenComesBack) {
  const auto path = std::filesystem::temp_directory_path() / ("lw_round_" + std::to_string(getpid()));
  const float values[] = {1.5f, -0.0f, 3e38f};
  const std::pair<std::string, TensorView> tensors[] = {
      {"z \"quoted\" \n", {DType::kF32, {3}, reinterpret_cast<const std::byte*>(values), sizeof values}},
      {"empty", {DType::kBF16, {0, 4}, nullptr, 0}},
      {"scalar", {DType::kF32, {}, reinterpret_cast<const std::byte*>(values), 4}}};
  ASSERT_TRUE(write_safetensors(path, tensors, {{"format", "pt"}, {"k", "v"}}));
  const auto file = SafetensorsFile::open(path);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ((*file)->header().metadata.at("k"), "v");
  ASSERT_EQ((*file)->header().tensors.size(), 3u);
  for (const SafetensorsEntry& entry : (*file)->header().tensors) {
    if (entry.name != "z \"quoted\" \n") continue;
    EXPECT_EQ(std::memcmp((*file)->view(entry).data, values, sizeof values), 0);
  }
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace liveweight
