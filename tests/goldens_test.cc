// Every golden vector of the supported schemes, to the bit: codes, scales, zero points, packed bytes,
// dequantized values.
#include <gtest/gtest.h>

#include <unistd.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "liveweight/checkpoint.h"
#include "quantize/quantize.h"
#include "quantize/repack.h"
#include "tensor/codec.h"

namespace liveweight {
namespace {

using nlohmann::json;

const std::filesystem::path kGoldens = std::filesystem::path(LIVEWEIGHT_SOURCE_DIR) / "../shared/goldens";

struct Vector {
  std::string scheme;  // as parse_scheme knows it
  json cases;
  Checkpoint file;
};

struct Quantized {
  KernelFormat format;
  std::vector<std::byte> slot;
  std::optional<QuantizeFault> fault;
};

using QuantizeFunction = decltype(&quantize_box);

Quantized quantize(const Scheme& scheme, const TensorView& weight, QuantizeFunction function) {
  const int64_t rows = weight.shape[0], cols = weight.shape[1];
  Quantized out;
  out.format = make_kernel_format(scheme, weight.dtype, {1, cols, 0, cols, {{0, rows, 0, 0}}});
  out.slot.assign(out.format.bytes, std::byte{0xaa});
  const SourceBox box{weight.dtype, weight.data, cols, 0, rows, 0, cols};
  const AmaxResult maximum = absolute_maximum(box);
  if (maximum.fault) {
    out.fault = maximum.fault;
    return out;
  }
  const TensorUnit unit{maximum.amax, load_high_precision(weight.dtype, weight.data, rows * cols - 1)};
  out.fault = function(box, {&out.format, out.slot.data(), 0, out.format.segments[0]}, unit);
  return out;
}

// int8_per_channel@vllm -> itself; int4_per_group128@torchao -> int4_per_group:128@torchao.
std::string scheme_name(std::string file) {
  const size_t group = file.find("per_group");
  if (group != std::string::npos) file.insert(group + 9, ":");
  return file;
}

class GoldensTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kGoldens))
      GTEST_SKIP() << kGoldens << " is not there: golden vectors are not tested";
    index_ = json::parse(read_text_file(kGoldens / "index.json").value());
  }

  std::vector<Vector> vectors() const {
    std::vector<Vector> all;
    for (const auto& [name, entry] : index_["files"].items()) {
      const auto scheme = parse_scheme(scheme_name(name));
      if (!scheme) continue;  // mxfp8, mxfp4, nvfp4 and GGUF's
      all.push_back({scheme_name(name), entry["cases"], open_file(name + ".safetensors")});
    }
    return all;
  }

  // A golden file, as a directory that holds only it.
  static Checkpoint open_file(const std::string& name) {
    const auto directory =
        std::filesystem::temp_directory_path() / ("liveweight-goldens-" + std::to_string(getpid()));
    std::filesystem::remove_all(directory);
    std::filesystem::create_directory(directory);
    std::filesystem::create_symlink(std::filesystem::absolute(kGoldens / name),
                                    directory / "model.safetensors");
    auto checkpoint = Checkpoint::open(directory);
    EXPECT_TRUE(checkpoint) << checkpoint.error().message;
    std::filesystem::remove_all(directory);
    return *checkpoint;
  }

  json index_;
};

const std::byte* part_row(const Quantized& q, const Part& part, int64_t row) {
  return q.slot.data() + part.offset + row * part.row_bytes;
}

// Codes one an element, as the vectors hold them.
std::vector<std::byte> codes_of(const Quantized& q) {
  std::vector<std::byte> codes;
  for (int64_t row = 0; row < q.format.rows; ++row) {
    const std::byte* data = part_row(q, q.format.data, row);
    for (int64_t col = 0; col < q.format.cols; ++col) {
      if (q.format.scheme.element != Element::kInt4) {
        codes.push_back(data[col]);
        continue;
      }
      const int nibble = std::to_integer<int>(data[col / 2]) >> (col % 2 * 4) & 15;
      codes.push_back(static_cast<std::byte>(nibble - 8));
    }
  }
  return codes;
}

void expect_codes(const Quantized& q, const TensorView& expected, const std::string& where) {
  const std::vector<std::byte> codes = codes_of(q);
  ASSERT_EQ(codes.size(), expected.bytes) << where;
  const bool e4m3 = q.format.scheme.element == Element::kE4M3;
  for (size_t i = 0; i < codes.size(); ++i) {
    const bool nan = e4m3 && (std::to_integer<int>(expected.data[i]) & 0x7f) == 0x7f;
    ASSERT_EQ(codes[i], nan ? std::byte{0} : expected.data[i]) << where << " element " << i;
  }
}

void expect_part(const Quantized& q, const Part& part, const TensorView& expected, const std::string& where) {
  ASSERT_EQ(to_string(part.dtype), to_string(expected.dtype)) << where;
  ASSERT_EQ(part.bytes, expected.bytes) << where;
  ASSERT_EQ(std::memcmp(q.slot.data() + part.offset, expected.data, part.bytes), 0) << where;
}

void expect_dequantized(const Quantized& q, const TensorView& expected, const TensorView& data,
                        const std::string& where) {
  std::vector<float> row(q.format.cols);
  for (int64_t r = 0; r < q.format.rows; ++r) {
    dequantize_row(q.format, q.slot.data(), 0, r, row.data());
    for (int64_t c = 0; c < q.format.cols; ++c) {
      const int64_t i = r * q.format.cols + c;
      const float value = reinterpret_cast<const float*>(expected.data)[i];
      const bool nan_code =
          data.dtype == DType::kF8E4M3 && (std::to_integer<int>(data.data[i]) & 0x7f) == 0x7f;
      if (nan_code) continue;
      ASSERT_EQ(row[c], value) << where << " [" << r << ", " << c << "]";
    }
  }
}

void expect_case(const Vector& vector, const std::string& name, QuantizeFunction function) {
  const std::string where = vector.scheme + " " + name;
  const auto part = [&](const char* suffix) { return vector.file.find(name + suffix); };
  const Scheme scheme = parse_scheme(vector.scheme).value();
  const Quantized q = quantize(scheme, part(".weight")->view, function);
  ASSERT_FALSE(q.fault) << where;
  expect_codes(q, part(".data")->view, where);
  expect_part(q, q.format.scale, part(".scale")->view, where + " scale");
  if (q.format.zero_point.bytes > 0)
    expect_part(q, q.format.zero_point, part(".zero_point")->view, where + " zero");
  if (part(".dequantized")) expect_dequantized(q, part(".dequantized")->view, part(".data")->view, where);
  const bool words = vector.scheme.find("compressed-tensors") != std::string::npos;
  if (words && part(".packed"))
    expect_part(Quantized(q), Part{DType::kI32, 0, 0, 0, q.format.data.offset, q.format.data.bytes},
                part(".packed")->view, where + " packed");
}

void expect_bytes(const std::vector<std::byte>& got, const TensorView& expected, const std::string& where) {
  ASSERT_EQ(got.size(), expected.bytes) << where;
  ASSERT_EQ(std::memcmp(got.data(), expected.data, got.size()), 0) << where;
}

TEST_F(GoldensTest, EveryVectorOfEveryProfileIsMetToTheBit) {
  int cases = 0;
  for (const Vector& vector : vectors()) {
    for (const auto& [name, note] : vector.cases.items()) {
      if (note.contains("skipped")) continue;
      for (const QuantizeFunction function : {&quantize_box_reference, &quantize_box})
        expect_case(vector, name, function);
      ++cases;
      if (HasFatalFailure()) return;
    }
  }
  EXPECT_GT(cases, 400);
}

// compressed-tensors packs zero points along the rows, torchao pairs of codes in two's complement.
TEST_F(GoldensTest, PackedInt4CodesAndZeroPointsAreTheLibrariesBytes) {
  int zero_points = 0, pairs = 0;
  for (const Vector& vector : vectors()) {
    const bool words = vector.scheme.find("compressed-tensors") != std::string::npos;
    for (const auto& [name, note] : vector.cases.items()) {
      const auto part = [&](const char* suffix) { return vector.file.find(name + suffix); };
      if (note.contains("skipped") || !part(".packed")) continue;
      const std::string where = vector.scheme + " " + name;
      const Quantized q = quantize(parse_scheme(vector.scheme).value(), part(".weight")->view, &quantize_box);
      const Part& zero = q.format.zero_point;
      if (part(".zero_point_packed")) {
        expect_bytes(pack_zero_points(part_row(q, zero, 0), zero.rows, zero.cols),
                     part(".zero_point_packed")->view, where);
        ++zero_points;
      }
      const Int4Rows codes{part_row(q, q.format.data, 0), q.format.rows, q.format.cols,
                           q.format.data.row_bytes};
      expect_bytes(unpack_int4(codes), part(".data")->view, where);
      if (words || q.format.cols % 2 != 0) continue;
      expect_bytes(pair_int4(codes), part(".packed")->view, where);
      ++pairs;
    }
  }
  EXPECT_GT(zero_points, 10);
  EXPECT_GT(pairs, 10);
}

TEST_F(GoldensTest, WhereTheLibrarysScaleIsNotFiniteTheWeightIsRefused) {
  int refused = 0;
  for (const Vector& vector : vectors()) {
    for (const auto& [name, note] : vector.cases.items()) {
      if (!note.contains("skipped") ||
          note["skipped"].get<std::string>().find("not finite") == std::string::npos)
        continue;
      const TensorView weight = vector.file.find(name + ".weight")->view;
      EXPECT_TRUE(quantize(parse_scheme(vector.scheme).value(), weight, &quantize_box_reference).fault)
          << name;
      EXPECT_TRUE(quantize(parse_scheme(vector.scheme).value(), weight, &quantize_box).fault) << name;
      ++refused;
    }
  }
  EXPECT_GT(refused, 0);
}

TEST_F(GoldensTest, EverySchemeRefusesWhatIsNotFiniteAndSaysWhere) {
  const Checkpoint file = open_file("refuse.safetensors");
  for (const Vector& vector : vectors()) {
    const Scheme scheme = parse_scheme(vector.scheme).value();
    for (const auto& [name, note] : index_["refused_cases"].items()) {
      const TensorView weight = file.find(name)->view;
      const KernelFormat format = make_kernel_format(
          scheme, weight.dtype, {1, weight.shape[1], 0, weight.shape[1], {{0, weight.shape[0], 0, 0}}});
      std::vector<std::byte> slot(format.bytes);
      const SourceBox box{weight.dtype, weight.data, weight.shape[1], 0, weight.shape[0], 0, weight.shape[1]};
      for (const QuantizeFunction function : {&quantize_box_reference, &quantize_box}) {
        const auto fault =
            function(box, {&format, slot.data(), 0, format.segments[0]}, TensorUnit{1.0f, 1.0f});
        ASSERT_TRUE(fault) << vector.scheme << " " << name;
        EXPECT_EQ(fault->row, note["at"][0]) << vector.scheme << " " << name;
        EXPECT_EQ(fault->col, note["at"][1]) << vector.scheme << " " << name;
      }
      EXPECT_TRUE(absolute_maximum(box).fault);
    }
  }
}

std::vector<float> floats_of(const Checkpoint& file, const std::string& name) {
  const TensorView view = file.find(name)->view;
  const auto* begin = reinterpret_cast<const float*>(view.data);
  return {begin, begin + view.bytes / 4};
}

TEST_F(GoldensTest, EveryCodeHasItsValue) {
  const Checkpoint file = open_file("codes.safetensors");
  const std::pair<const char*, float (*)(uint8_t)> tables[] = {{"e4m3fn_to_fp32", e4m3_to_float},
                                                               {"e5m2_to_fp32", e5m2_to_float},
                                                               {"e2m1_to_fp32", e2m1_to_float},
                                                               {"e8m0_to_fp32", e8m0_to_float}};
  for (const auto& [name, decode] : tables) {
    const std::vector<float> expected = floats_of(file, name);
    for (size_t code = 0; code < expected.size(); ++code) {
      const float got = decode(static_cast<uint8_t>(code));
      if (std::isnan(expected[code])) {
        EXPECT_TRUE(std::isnan(got)) << name << " " << code;
      } else {
        EXPECT_EQ(std::bit_cast<uint32_t>(got), std::bit_cast<uint32_t>(expected[code]))
            << name << " " << code;
      }
    }
  }
}

TEST_F(GoldensTest, EveryValueHasItsCode) {
  const Checkpoint file = open_file("codes.safetensors");
  const std::pair<const char*, uint8_t (*)(float)> codecs[] = {
      {"e4m3fn", float_to_e4m3}, {"e5m2", float_to_e5m2}, {"e2m1", float_to_e2m1}};
  const std::vector<float> values = floats_of(file, "fp32_in");
  for (const auto& [codec, encode] : codecs) {
    for (const char* source : {"fp32", "bf16", "fp16"}) {
      const TensorView expected = file.find(std::string(source) + "_to_" + codec)->view;
      for (uint64_t i = 0; i < expected.bytes; ++i) {
        const auto bits = static_cast<uint16_t>(i);
        const float x = source[0] == 'b'   ? bf16_to_float(bits)
                        : source[2] == '3' ? values[i]
                                           : fp16_to_float(bits);
        ASSERT_EQ(encode(x), std::to_integer<uint8_t>(expected.data[i]))
            << source << " to " << codec << " " << i;
      }
    }
  }
  const auto* bf16 = reinterpret_cast<const uint16_t*>(file.find("fp32_to_bf16")->view.data);
  const auto* fp16 = reinterpret_cast<const uint16_t*>(file.find("fp32_to_fp16")->view.data);
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(float_to_bf16(values[i]), bf16[i]) << values[i];
    ASSERT_EQ(float_to_fp16(values[i]), fp16[i]) << values[i];
  }
}

}  // namespace
}  // namespace liveweight
