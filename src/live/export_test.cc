// Exports of real checkpoints: every scheme in every format that holds it, loaded back with the same weights.
#include "liveweight/export.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "live/export_fixture.h"
#include "liveweight/digest.h"

namespace liveweight {
namespace {

constexpr ExportFormat kFormats[] = {ExportFormat::kFp8, ExportFormat::kCompressedTensors,
                                     ExportFormat::kTorchao};

constexpr const char* kSchemes[] = {"int8_per_channel",
                                    "int8_per_channel@torchao-intx",
                                    "int8_per_channel@compressed-tensors",
                                    "int8_per_channel@vllm",
                                    "int8_per_tensor",
                                    "int4_per_group:4",
                                    "int4_per_group:4@compressed-tensors-asymmetric",
                                    "int4_per_group:4@torchao",
                                    "int4_per_group:4@torchao-intx",
                                    "int4_per_group:4@torchao-tinygemm",
                                    "fp8_per_tensor",
                                    "fp8_per_channel",
                                    "fp8_per_channel@torchao",
                                    "fp8_per_channel@compressed-tensors",
                                    "fp8_per_block",
                                    "fp8_per_block@nemo",
                                    "fp8_per_block@compressed-tensors"};

bool holds(ExportFormat format, const std::string& scheme, bool experts) {
  const bool blocks = scheme.starts_with("fp8_per_block");
  const bool floating_zero = scheme.ends_with(":4@torchao") || scheme.ends_with("tinygemm");
  if (format == ExportFormat::kFp8) return blocks;
  if (format == ExportFormat::kCompressedTensors) return !floating_zero;
  return !experts && !blocks;  // none of the models is made of whole blocks
}

class ExportTest : public ExportFixture {
 protected:
  void expect_round_trips(const std::filesystem::path& source) const {
    const bool experts = read_model_config(source)->experts > 0;
    for (const char* name : kSchemes) {
      const auto online = load(source, scheme(name));
      ASSERT_TRUE(online) << online.error().message;
      for (const ExportFormat format : kFormats) {
        const std::string where =
            source.filename().string() + " " + name + " as " + std::string(to_string(format));
        const auto out = fresh();
        const auto report = export_to(source, out, {scheme(name), {}, format});
        ASSERT_EQ(report.has_value(), holds(format, name, experts))
            << where << (report ? "" : report.error().message);
        if (!report) {
          EXPECT_EQ(report.error().code, ErrorCode::kUnsupported) << where;
          EXPECT_FALSE(report.error().names.empty()) << where;
          continue;
        }
        const auto offline = load(out, std::nullopt);
        ASSERT_TRUE(offline) << where << ": " << offline.error().message;
        expect_same_weights(**online, **offline, where);
        if (HasFatalFailure()) return;
      }
    }
  }
};

TEST_F(ExportTest, EverySchemeInEveryFormatThatHoldsItLoadsWithTheSameWeights) {
  for (const char* name : {"stories260k-bf16", "stories260k", "stories260k-fp16", "tiny/llama-tied",
                           "tiny/llama-bias", "tiny/qwen3", "tiny/phi3", "tiny/qwen3-moe-mixed"}) {
    expect_round_trips(models() / name);
    if (HasFatalFailure()) return;
  }
}

TEST_F(ExportTest, EveryTinyArchitectureExportsInTheDefaultFormatOfItsScheme) {
  const std::pair<const char*, ExportFormat> defaults[] = {
      {"int8_per_channel", ExportFormat::kCompressedTensors},
      {"int4_per_group:16", ExportFormat::kCompressedTensors},
      {"fp8_per_tensor", ExportFormat::kCompressedTensors},
      {"fp8_per_channel", ExportFormat::kCompressedTensors},
      {"fp8_per_block", ExportFormat::kFp8}};
  for (const auto& entry : std::filesystem::directory_iterator(models() / "tiny")) {
    if (!entry.is_directory()) continue;
    for (const auto& [name, format] : defaults) {
      const auto out = fresh();
      const auto report = export_to(entry.path(), out, {scheme(name), {}, std::nullopt});
      ASSERT_TRUE(report) << entry.path() << " " << name << ": " << report.error().message;
      EXPECT_EQ(report->format, format);
      const auto offline = load(out, std::nullopt);
      ASSERT_TRUE(offline) << offline.error().message;
      expect_same_weights(**load(entry.path(), scheme(name)), **offline, entry.path().string() + name);
    }
  }
  const auto report =
      export_to(models() / "tiny/llama", fresh(), {scheme("int4_per_group:16@torchao"), {}, std::nullopt});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->format, ExportFormat::kTorchao);
}

// A Llama of whole 128 x 128 blocks, with weights from a counter.
void write_model_of_whole_blocks(const std::filesystem::path& directory) {
  const std::string config =
      R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16",
          "vocab_size": 64, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 1,
          "num_attention_heads": 2, "num_key_value_heads": 2, "rms_norm_eps": 1e-5})";
  std::filesystem::create_directory(directory);
  ASSERT_TRUE(write_text_file(directory / "config.json", config));
  const auto model = describe_model(parse_model_config(config).value()).value();
  std::vector<std::vector<uint16_t>> data;
  std::vector<std::pair<std::string, TensorView>> tensors;
  for (const ParameterDescription& parameter : model.parameters) {
    for (const Member& member : parameter.members) {
      auto& bits = data.emplace_back(element_count(member.shape));
      for (size_t i = 0; i < bits.size(); ++i) {
        bits[i] = static_cast<uint16_t>(0x3c00 + i * 2654435761u % 0x300 + (i % 3 ? 0x8000 : 0));
      }
      const auto* bytes = reinterpret_cast<const std::byte*>(bits.data());
      tensors.push_back({member.name, {DType::kBF16, member.shape, bytes, bits.size() * 2}});
    }
  }
  ASSERT_TRUE(write_safetensors(directory / "model.safetensors", tensors));
}

TEST_F(ExportTest, WholeBlocksAreHeldByEveryFormat) {
  const auto source = fresh("source");
  write_model_of_whole_blocks(source);
  const auto online = load(source, scheme("fp8_per_block"));
  ASSERT_TRUE(online) << online.error().message;
  for (const ExportFormat format : kFormats) {
    const auto out = fresh();
    const auto report = export_to(source, out, {scheme("fp8_per_block"), {}, format});
    ASSERT_TRUE(report) << report.error().message;
    const auto offline = load(out, std::nullopt);
    ASSERT_TRUE(offline) << offline.error().message;
    expect_same_weights(**online, **offline, std::string(to_string(format)));
  }
}

TEST_F(ExportTest, TheBytesReportedAreThoseOfTheTensorsThere) {
  const auto out = fresh();
  const auto report = export_to(models() / "tiny/llama", out, {scheme("int8_per_channel"), {}, std::nullopt});
  ASSERT_TRUE(report);
  const Checkpoint written = Checkpoint::open(out).value();
  uint64_t bytes = 0;
  for (const CheckpointTensor& tensor : written.tensors()) bytes += tensor.view.bytes;
  EXPECT_EQ(report->bytes, bytes);
  EXPECT_EQ(report->tensors, static_cast<int64_t>(written.tensors().size()));
  EXPECT_LT(report->bytes, report->source_bytes);
}

TEST_F(ExportTest, ShardsAndTheirIndexHoldWhatOneFileWould) {
  const ExportOptions one{scheme("int4_per_group:16@torchao"), {}, std::nullopt};
  ExportOptions many = one;
  many.shard_bytes = 50'000;
  const auto whole = fresh("whole"), sharded = fresh("sharded");
  ASSERT_TRUE(export_to(models() / "tiny/llama", whole, one));
  const auto report = export_to(models() / "tiny/llama", sharded, many);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_GT(report->files, 3);
  EXPECT_TRUE(std::filesystem::exists(sharded / "model.safetensors.index.json"));
  const auto a = load(whole, std::nullopt), b = load(sharded, std::nullopt);
  ASSERT_TRUE(a && b);
  EXPECT_EQ(digest_of(**a)->model, digest_of(**b)->model);
  const auto index = nlohmann::json::parse(read_text_file(sharded / "model.safetensors.index.json").value());
  EXPECT_EQ(index["metadata"]["total_size"], report->bytes);
}

TEST_F(ExportTest, ConfigKeepsItsFieldsAndTokenizersAreCopied) {
  const auto source = models() / "tiny/llama", out = fresh();
  ASSERT_TRUE(export_to(source, out, {scheme("fp8_per_block"), {}, std::nullopt}));
  auto before = nlohmann::json::parse(read_text_file(source / "config.json").value());
  auto after = nlohmann::json::parse(read_text_file(out / "config.json").value());
  EXPECT_EQ(after["quantization_config"]["modules_to_not_convert"], nlohmann::json({"lm_head"}));
  after.erase("quantization_config");
  EXPECT_EQ(after, before);
  const auto stories = models() / "stories260k", copied = fresh();
  ASSERT_TRUE(export_to(stories, copied, {scheme("fp8_per_block"), {}, std::nullopt}));
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "generation_config.json"}) {
    if (!std::filesystem::exists(stories / name)) continue;
    EXPECT_EQ(read_text_file(stories / name).value(), read_text_file(copied / name).value()) << name;
  }
}

TEST_F(ExportTest, ConfigSaysWhetherZeroPointsAreThere) {
  for (const auto& [name, symmetric] : {std::pair("int4_per_group:16@torchao-intx", true),
                                        {"int4_per_group:16@compressed-tensors-asymmetric", false}}) {
    const auto config_of = [&](ExportFormat format) {
      const auto out = fresh();
      EXPECT_TRUE(export_to(models() / "tiny/llama", out, {scheme(name), {}, format}));
      return nlohmann::json::parse(read_text_file(out / "config.json").value())["quantization_config"];
    };
    const auto torchao = config_of(ExportFormat::kTorchao)["quant_type"]["default"]["_data"];
    EXPECT_EQ(torchao["mapping_type"]["_data"], symmetric ? "SYMMETRIC" : "ASYMMETRIC");
    const auto groups = config_of(ExportFormat::kCompressedTensors)["config_groups"]["group_0"];
    EXPECT_EQ(groups["weights"]["symmetric"], symmetric);
  }
}

TEST_F(ExportTest, ATiedHeadIsWrittenOnlyWhereItDiffersFromTheEmbedding) {
  const auto source = models() / "tiny/llama-tied", out = fresh();
  ASSERT_TRUE(export_to(source, out, {scheme("int8_per_channel"), {}, std::nullopt}));
  EXPECT_EQ(Checkpoint::open(out)->find("lm_head.weight"), nullptr);
  EXPECT_TRUE(read_model_config(out)->tied);
  for (const char* text :
       {R"({"linear": "int8_per_channel", "targets": {"lm_head": "int8_per_channel"}})",
        R"({"linear": "int8_per_channel", "targets": {"model.embed_tokens": "int8_per_channel"}})"}) {
    const auto config = QuantizationConfig::parse(text).value();
    for (const ExportFormat format : {ExportFormat::kCompressedTensors, ExportFormat::kTorchao}) {
      const auto untied = fresh();
      const auto report = export_to(source, untied, {config, {}, format});
      ASSERT_TRUE(report) << report.error().message;
      EXPECT_FALSE(read_model_config(untied)->tied);
      const auto offline = load(untied, std::nullopt);
      ASSERT_TRUE(offline) << offline.error().message;
      expect_same_weights(**load(source, config), **offline, text);
    }
  }
}

TEST_F(ExportTest, SchemesThatDifferByModuleRoundTrip) {
  const auto config = QuantizationConfig::parse(R"({"linear": "int8_per_channel", "ignore": ["re:.*o_proj$"],
      "targets": {"re:.*down_proj": "int4_per_group:16", "model.layers.1.self_attn.o_proj": null,
                  "lm_head": "fp8_per_channel", "model.embed_tokens": "fp8_per_tensor"}})")
                          .value();
  for (const ExportFormat format : {ExportFormat::kCompressedTensors, ExportFormat::kTorchao}) {
    const auto out = fresh();
    const auto report = export_to(models() / "tiny/llama", out, {config, {}, format});
    ASSERT_TRUE(report) << report.error().message;
    const auto offline = load(out, std::nullopt);
    ASSERT_TRUE(offline) << offline.error().message;
    expect_same_weights(**load(models() / "tiny/llama", config), **offline, std::string(to_string(format)));
  }
  const auto fp8 = export_to(models() / "tiny/llama", fresh(), {config, {}, ExportFormat::kFp8});
  ASSERT_FALSE(fp8);
  EXPECT_EQ(fp8.error().code, ErrorCode::kUnsupported);
}

TEST_F(ExportTest, LicensesAndNoticesAreCopied) {
  const auto source = fresh("source"), out = fresh();
  std::filesystem::copy(models() / "tiny/llama", source);
  for (const char* name : {"LICENSE", "LICENSE-MIT", "NOTICE", "weights.bin"}) {
    ASSERT_TRUE(write_text_file(source / name, name));
  }
  ASSERT_TRUE(export_to(source, out, {scheme("int8_per_channel"), {}, std::nullopt}));
  for (const char* name : {"LICENSE", "LICENSE-MIT", "NOTICE"}) {
    EXPECT_EQ(read_text_file(out / name).value_or(""), name);
  }
  EXPECT_FALSE(std::filesystem::exists(out / "weights.bin"));
}

}  // namespace
}  // namespace liveweight
