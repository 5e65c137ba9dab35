// What an export refuses, what it then leaves behind (nothing), and broken offline checkpoints.
#include <algorithm>

#include "live/export_fixture.h"
#include "liveweight/digest.h"

namespace liveweight {
namespace {

class ExportRefusalTest : public ExportFixture {
 protected:
  std::vector<std::string> folder_names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  void expect_refused(const std::filesystem::path& source, const std::filesystem::path& out,
                      const ExportOptions& options, ErrorCode code, const std::string& words) const {
    const auto before = folder_names();
    const auto report = export_to(source, out, options);
    ASSERT_FALSE(report) << words;
    EXPECT_EQ(report.error().code, code) << report.error().message;
    EXPECT_NE(report.error().message.find(words), std::string::npos) << report.error().message;
    EXPECT_EQ(folder_names(), before) << words;
  }
};

TEST_F(ExportRefusalTest, APlaceThatIsTakenIsTheSourceOrCannotBeWrittenIsRefused) {
  const auto source = models() / "tiny/llama";
  const ExportOptions options{scheme("int8_per_channel"), {}, std::nullopt};
  const auto taken = fresh("taken");
  std::filesystem::create_directory(taken);
  ASSERT_TRUE(write_text_file(taken / "note.txt", "mine"));
  expect_refused(source, taken, options, ErrorCode::kInvalidArgument, "not empty");
  expect_refused(source, source, options, ErrorCode::kInvalidArgument, "the source itself");
  expect_refused(source, source / "", options, ErrorCode::kInvalidArgument, "the source itself");
  expect_refused(source, taken / "note.txt", options, ErrorCode::kInvalidArgument, "got a file");
  expect_refused(source, taken / "note.txt" / "out", options, ErrorCode::kIo, "parent");
  expect_refused(source, folder_ / "a" / "b", options, ErrorCode::kIo, "parent");
  expect_refused(source, "/proc/out", options, ErrorCode::kIo, "cannot write");
  EXPECT_EQ(read_text_file(taken / "note.txt").value(), "mine");
}

TEST_F(ExportRefusalTest, AnEmptyDirectoryOrALinkToOneIsFilled) {
  const ExportOptions options{scheme("int8_per_channel"), {}, std::nullopt};
  const auto empty = fresh("empty");
  std::filesystem::create_directory(empty);
  std::filesystem::create_directory_symlink(empty, folder_ / "link");
  ASSERT_TRUE(export_to(models() / "tiny/llama", folder_ / "link" / "", options));
  EXPECT_TRUE(load(empty, std::nullopt));
}

TEST_F(ExportRefusalTest, AFormatThatCannotHoldTheSchemeIsRefusedByTheTensorsName) {
  const auto stories = models() / "stories260k-bf16";
  const auto with = [](const char* name, ExportFormat format) {
    return ExportOptions{scheme(name), {}, format};
  };
  const std::string down = "model.layers.0.mlp.down_proj.weight";
  const auto refuse = [&](const char* name, ExportFormat format, const std::string& words) {
    expect_refused(stories, fresh(), with(name, format), ErrorCode::kUnsupported, words);
  };
  refuse("int4_per_group", ExportFormat::kCompressedTensors, down);
  refuse("int4_per_group", ExportFormat::kTorchao, down);
  refuse("fp8_per_block", ExportFormat::kTorchao, "q_proj");
  refuse("int4_per_group:4@torchao", ExportFormat::kCompressedTensors, "zero points");
  refuse("fp8_per_channel", ExportFormat::kFp8, "fp8_per_block only");
  expect_refused(models() / "tiny/mixtral", fresh(), with("int8_per_channel", ExportFormat::kTorchao),
                 ErrorCode::kUnsupported, "experts");
}

TEST_F(ExportRefusalTest, NothingToQuantizeOrQuantizedAlreadyIsRefused) {
  expect_refused(models() / "tiny/llama", fresh(), {}, ErrorCode::kInvalidArgument, "got none");
  const auto offline = open_model_directory(models() / "quantized/fp8-block").value();
  const auto report = export_quantized(offline, fresh(), {offline.quantization, {}, std::nullopt});
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, ErrorCode::kUnsupported);
}

TEST_F(ExportRefusalTest, ABadSourceLeavesNothingBehind) {
  const ExportOptions options{scheme("int8_per_channel"), {}, std::nullopt};
  expect_refused(models() / "finetune/bad-nan", fresh(), options, ErrorCode::kNonFinite, "tensor");
  expect_refused(models() / "finetune/bad-missing", fresh(), options, ErrorCode::kMissingTensor, "tensor");
  expect_refused(models() / "finetune/bad-extra", fresh(), options, ErrorCode::kUnknownTensor, "tensor");
}

TEST_F(ExportRefusalTest, AnExportReloadsIntoItselfAndHighPrecisionIntoItIsRefused) {
  const auto source = models() / "tiny/llama";
  for (const char* name :
       {"int4_per_group:16@torchao", "int4_per_group:16@torchao-intx", "int8_per_channel"}) {
    const auto out = fresh();
    ASSERT_TRUE(export_to(source, out, {scheme(name), {}, ExportFormat::kTorchao}));
    const auto model = load(out, std::nullopt);
    ASSERT_TRUE(model) << model.error().message;
    const Digest before = digest_of(**model)->model;
    EXPECT_TRUE(reload(**model, Checkpoint::open(out).value()));
    EXPECT_EQ(digest_of(**model)->model, before) << name;
    const auto high = reload(**model, Checkpoint::open(source).value());
    ASSERT_FALSE(high);
    EXPECT_EQ(digest_of(**model)->model, before) << name;
    EXPECT_FALSE(load(out, scheme("int8_per_channel"))) << "quantized twice";
  }
}

// Tensors sent in pieces of an odd number of elements come together as a whole load does.
TEST_F(ExportRefusalTest, APieceThatCutsAPackedByteWaitsForTheRest) {
  for (const char* name : {"int4_per_group:16@torchao", "int4_per_group:16@torchao-intx"}) {
    const auto out = fresh();
    ASSERT_TRUE(export_to(models() / "tiny/llama", out, {scheme(name), {}, ExportFormat::kTorchao}));
    const auto model = load(out, std::nullopt);
    ASSERT_TRUE(model);
    const Digest whole = digest_of(**model)->model;
    auto update = (*model)->begin_update();
    ASSERT_TRUE(update);
    const Checkpoint checkpoint = Checkpoint::open(out).value();
    for (const CheckpointTensor& tensor : checkpoint.tensors()) {
      const int64_t count = element_count(tensor.view.shape), each = tensor.view.bytes / count;
      for (int64_t first = 0; first < count; first += 997) {
        const int64_t part = std::min<int64_t>(997, count - first);
        const TensorView piece{
            tensor.view.dtype, {part}, tensor.view.data + first * each, static_cast<uint64_t>(part * each)};
        const Status status = update->put_flat(tensor.name, piece, first);
        ASSERT_TRUE(status) << status.error().message;
      }
    }
    const auto report = update->commit();
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_EQ(digest_of(**model)->model, whole) << name;
  }
}

TEST_F(ExportRefusalTest, ABrokenOfflineCheckpointIsRefusedByTheTensorsName) {
  struct Case {
    const char* scheme;
    ExportFormat format;
    std::string tensor;
    ErrorCode code;
    std::function<void(Tensors&, const std::string&)> change;
  };
  const auto remove = [](Tensors& all, const std::string& name) { all.erase(name); };
  const auto floats = [](Tensors& all, const std::string& name) {
    auto& [view, bytes] = all.at(name);
    view.dtype = DType::kF32;
    bytes.assign(static_cast<size_t>(element_count(view.shape)) * 4, std::byte{0});
  };
  const auto integers = [](Tensors& all, const std::string& name) { all.at(name).first.dtype = DType::kI32; };
  const auto longer = [](Tensors& all, const std::string& name) {
    auto& [view, bytes] = all.at(name);
    ++view.shape[0];
    bytes.resize(bytes.size() + bytes.size() / static_cast<size_t>(view.shape[0] - 1));
  };
  const auto set_first = [](std::byte value) {
    return [value](Tensors& all, const std::string& name) { all.at(name).second[0] = value; };
  };
  const auto nan = [](Tensors& all, const std::string& name) {
    auto& [view, bytes] = all.at(name);
    std::fill_n(bytes.begin(), bits_of(view.dtype) / 8, std::byte{0xff});
  };
  const std::string q = "model.layers.1.self_attn.q_proj.";
  const ExportFormat ct = ExportFormat::kCompressedTensors, ao = ExportFormat::kTorchao;
  const Case cases[] = {
      {"fp8_per_block", ExportFormat::kFp8, q + "weight_scale_inv", ErrorCode::kMissingTensor, remove},
      {"fp8_per_block", ExportFormat::kFp8, q + "weight", ErrorCode::kWrongDtype, floats},
      {"fp8_per_block", ExportFormat::kFp8, q + "weight", ErrorCode::kNonFinite, set_first(std::byte{0x7f})},
      {"int8_per_channel", ct, q + "weight_scale", ErrorCode::kMissingTensor, remove},
      {"int8_per_channel", ct, q + "weight_scale", ErrorCode::kWrongShape, longer},
      {"int8_per_channel", ct, q + "weight_scale", ErrorCode::kWrongDtype, integers},
      {"int8_per_channel", ct, q + "weight_scale", ErrorCode::kNonFinite, nan},
      {"int4_per_group:16", ct, q + "weight_packed", ErrorCode::kMissingTensor, remove},
      {"int4_per_group:16", ct, q + "weight_shape", ErrorCode::kWrongShape, set_first(std::byte{1})},
      {"int4_per_group:16@torchao", ao, q + "_weight_scale", ErrorCode::kMissingTensor, remove},
      {"int4_per_group:16@torchao", ao, q + "_weight_zero_point", ErrorCode::kMissingTensor, remove},
      {"int4_per_group:16@torchao", ao, q + "_weight_qdata", ErrorCode::kWrongDtype, floats},
      {"int4_per_group:16@torchao-intx", ao, q + "_weight_qdata", ErrorCode::kBadCheckpoint,
       set_first(std::byte{8})},
      {"int4_per_group:16@torchao-intx", ao, q + "_weight_qdata", ErrorCode::kBadCheckpoint,
       set_first(std::byte{0xf7})},  // -9
      {"int4_per_group:16@torchao-intx", ao, q + "_weight_zero_point", ErrorCode::kWrongShape, longer},
      {"int8_per_channel", ao, q + "_weight_zero_point", ErrorCode::kUnsupported, set_first(std::byte{1})},
      {"int8_per_channel", ao, q + "_weight_qdata", ErrorCode::kMissingTensor, remove}};
  for (const Case& broken : cases) {
    const auto out = fresh();
    ASSERT_TRUE(export_to(models() / "tiny/llama", out, {scheme(broken.scheme), {}, broken.format}));
    rewrite(out, [&](Tensors& tensors) { broken.change(tensors, broken.tensor); });
    const auto model = load(out, std::nullopt);
    ASSERT_FALSE(model) << broken.scheme << " " << broken.tensor;
    EXPECT_EQ(model.error().code, broken.code) << broken.tensor << ": " << model.error().message;
    EXPECT_NE(model.error().message.find(broken.tensor), std::string::npos) << model.error().message;
  }
}

TEST_F(ExportRefusalTest, InPlaceABrokenOfflineCheckpointIsRefusedBeforeTheModelIsTouched) {
  const auto out = fresh();
  ASSERT_TRUE(export_to(models() / "tiny/llama", out,
                        {scheme("int8_per_channel"), {}, ExportFormat::kCompressedTensors}));
  const ModelDirectory opened = open_model_directory(out).value();
  LoadOptions options;
  options.quantization = opened.quantization;
  options.mode = CommitMode::kInPlace;
  const auto model = load_model(opened, options).value();
  const Digest before = digest_of(*model)->model;
  const auto broken = fresh("broken");
  std::filesystem::copy(out, broken);
  rewrite(broken, [](Tensors& tensors) {
    auto& scale = tensors.at("model.layers.1.self_attn.q_proj.weight_scale").second;
    std::fill(scale.begin(), scale.end(), std::byte{0xff});
  });
  const auto report = reload(*model, Checkpoint::open(broken).value());
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, ErrorCode::kNonFinite) << report.error().message;
  const auto after = digest_of(*model);
  ASSERT_TRUE(after) << after.error().message;
  EXPECT_EQ(after->model, before);
}

}  // namespace
}  // namespace liveweight
