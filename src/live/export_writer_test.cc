// What each format can hold, what it then says in config.json, and how tensors are shared out among files.
#include <gtest/gtest.h>
#include <unistd.h>

#include "live/export_shards.h"
#include "live/export_torchao.h"
#include "liveweight/checkpoint.h"

namespace liveweight {
namespace {

Scheme scheme_of(const std::string& name) {
  return parse_scheme(name).value();
}

// A matrix under a scheme, as it would be exported.
struct Matrix {
  Matrix(const std::string& scheme, int64_t rows, int64_t cols, ModuleKind kind = ModuleKind::kLinear,
         int64_t block = 0) {
    Scheme parsed = scheme_of(scheme);
    if (block > 0) parsed.size = block;
    format = make_kernel_format(parsed, DType::kBF16, {1, cols, 0, cols, {Segment{0, rows, 0, 0}}});
    slot.resize(format.bytes);
    member = {"model.m.weight", {rows, cols}, kind, &format, slot.data(), 0, format.segments[0]};
  }
  Matrix(const Matrix&) = delete;

  KernelFormat format;
  std::vector<std::byte> slot;
  ExportMember member;
};

bool is_refused(const std::unique_ptr<ExportWriter>& writer, const Matrix& matrix) {
  const Status status = writer->check(matrix.member);
  return !status && status.error().code == ErrorCode::kUnsupported;
}

TensorView tensor_of(const std::unique_ptr<ExportWriter>& writer, const Matrix& matrix,
                     const std::string& name) {
  ExportContents contents;
  writer->add(matrix.member, contents);
  for (const ExportTensor& tensor : contents.tensors) {
    if (tensor.name == name) return tensor.view;
  }
  throw std::runtime_error("no " + name);
}

TEST(ExportWriterTest, Fp8HoldsLinearLayersOnly) {
  EXPECT_FALSE(is_refused(fp8_writer(), Matrix("fp8_per_block", 128, 128)));
  EXPECT_TRUE(is_refused(fp8_writer(), Matrix("fp8_per_block", 128, 128, ModuleKind::kEmbedding)));
}

TEST(ExportWriterTest, Fp8ScalesAreWidenedToF32) {
  for (const char* scheme : {"fp8_per_block", "fp8_per_block@nemo", "fp8_per_block@compressed-tensors"}) {
    const TensorView scale = tensor_of(fp8_writer(), Matrix(scheme, 256, 128), "model.m.weight_scale_inv");
    EXPECT_EQ(scale.dtype, DType::kF32) << scheme;
    EXPECT_EQ(scale.shape, (Shape{2, 1})) << scheme;
  }
}

TEST(ExportWriterTest, TorchaoHoldsBlocksOf128Only) {
  EXPECT_FALSE(is_refused(torchao_writer(), Matrix("fp8_per_block", 128, 128)));
  EXPECT_TRUE(is_refused(torchao_writer(), Matrix("fp8_per_block", 128, 128, ModuleKind::kLinear, 64)));
}

TEST(ExportWriterTest, TorchaoHoldsEvenColumnsOfInt4Only) {
  EXPECT_FALSE(is_refused(torchao_writer(), Matrix("int4_per_group:5@torchao", 4, 20)));
  EXPECT_TRUE(is_refused(torchao_writer(), Matrix("int4_per_group:5@torchao", 4, 15)));
}

TEST(ExportWriterTest, TorchaoSaysWhetherEmbeddingsAreQuantized) {
  const ExportModule linear{"model.m", ModuleKind::kLinear, scheme_of("int8_per_channel")};
  for (const ModuleKind kind : {ModuleKind::kEmbedding, ModuleKind::kHead}) {
    const auto says = [&](const Scheme& scheme) {
      const auto config = torchao_writer()->quantization_config({linear, {"model.e", kind, scheme}});
      return config["include_input_output_embeddings"].get<bool>();
    };
    EXPECT_TRUE(says(linear.scheme));
    EXPECT_FALSE(says(Scheme{}));
  }
}

TEST(ExportWriterTest, TorchaosIntxHoldsInt8OfItsOwnProfile) {
  EXPECT_EQ(torchao_class(scheme_of("int8_per_channel@torchao-intx")), TorchaoClass::kIntx);
  EXPECT_EQ(torchao_class(scheme_of("int8_per_channel")), TorchaoClass::kInt8);
}

TEST(ExportWriterTest, CompressedTensorsScaleOfATensorIsAVectorOfOne) {
  const Matrix matrix("int8_per_tensor", 8, 16);
  EXPECT_EQ(tensor_of(compressed_tensors_writer(), matrix, "model.m.weight_scale").shape, Shape{1});
}

TEST(ExportWriterTest, CompressedTensorsSaysWhichModulesAreOfWhichGroup) {
  const ExportModule a{"a", ModuleKind::kLinear, scheme_of("int8_per_channel")},
      b{"b", ModuleKind::kLinear, scheme_of("int4_per_group:16")};
  const auto config = compressed_tensors_writer()->quantization_config({a, b});
  EXPECT_EQ(config["format"], "mixed-precision");
  EXPECT_EQ(config["config_groups"]["group_0"]["targets"], OrderedJson({"a"}));
  EXPECT_EQ(config["config_groups"]["group_1"]["targets"], OrderedJson({"b"}));
  const auto alike = compressed_tensors_writer()->quantization_config({a});
  EXPECT_EQ(alike["format"], "int-quantized");
  EXPECT_EQ(alike["config_groups"]["group_0"]["targets"], OrderedJson({"Linear"}));
}

class ExportShardsTest : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directory(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void add(const std::string& name, DType dtype, int64_t count) {
    contents_.tensors.push_back(made(name, dtype, {count}, [bytes = count * bits_of(dtype) / 8] {
      return std::vector<std::byte>(static_cast<size_t>(bytes));
    }));
  }
  std::vector<size_t> tensors_by_file(uint64_t limit) {
    const int64_t files = write_shards(folder_, contents_, limit).value();
    std::vector<size_t> counts;
    for (int64_t i = 1; i <= files; ++i) {
      const auto file =
          folder_ / ("model-0000" + std::to_string(i) + "-of-0000" + std::to_string(files) + ".safetensors");
      const auto alone = folder_ / "alone";
      std::filesystem::remove_all(alone);
      std::filesystem::create_directory(alone);
      std::filesystem::copy(file, alone / "model.safetensors");
      counts.push_back(Checkpoint::open(alone)->tensors().size());
    }
    return counts;
  }

  const std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("liveweight-shards-" + std::to_string(getpid()));
  ExportContents contents_;
};

TEST_F(ExportShardsTest, AFileHoldsAsManyTensorsAsTheLimitLets) {
  for (const char* name : {"a", "b", "c", "d", "e"}) add(name, DType::kI8, 40);
  EXPECT_EQ(tensors_by_file(80), (std::vector<size_t>{2, 2, 1}));
  EXPECT_EQ(tensors_by_file(119), (std::vector<size_t>{2, 2, 1}));
  EXPECT_EQ(tensors_by_file(120), (std::vector<size_t>{3, 2}));
  EXPECT_EQ(tensors_by_file(1), (std::vector<size_t>{1, 1, 1, 1, 1}));
}

TEST_F(ExportShardsTest, TensorsOfWiderElementsComeFirst) {
  add("a", DType::kI8, 3);
  add("b", DType::kF32, 2);
  ASSERT_TRUE(write_shards(folder_, contents_, 1000));
  const Checkpoint written = Checkpoint::open(folder_).value();
  EXPECT_LT(written.find("b")->view.data, written.find("a")->view.data);
}

}  // namespace
}  // namespace liveweight
