#include "liveweight/tokenizer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "liveweight/checkpoint.h"
#include "text/json_tokenizer.h"
#include "text/sentencepiece.h"

namespace liveweight {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;

const std::filesystem::path kTokenizers =
    std::filesystem::path(LIVEWEIGHT_SOURCE_DIR) / "../shared/models/tokenizers";

class VectorsTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kTokenizers))
      GTEST_SKIP() << kTokenizers << " is not there: vectors are not tested";
    vectors_ = json::parse(read_text_file(kTokenizers / GetParam() / "vectors.json").value());
  }
  json vectors_;
};

TEST_P(VectorsTest, EncodesAndDecodesEveryVectorAsHuggingFaceDoes) {
  const auto tokenizer = Tokenizer::load(kTokenizers / GetParam());
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  for (const json& vector : vectors_["vectors"]) {
    const auto text = vector["text"].get<std::string>();
    const Ids ids = vector["ids"];
    EXPECT_EQ((*tokenizer)->encode(text).value(), ids) << vector["text"];
    EXPECT_EQ((*tokenizer)->encode(text, false).value(), vector["ids_no_special"].get<Ids>())
        << vector["text"];
    EXPECT_EQ((*tokenizer)->decode(ids, false), vector["decoded"].get<std::string>()) << vector["text"];
    EXPECT_EQ((*tokenizer)->decode(ids, true), vector["decoded_skip_special"].get<std::string>())
        << vector["text"];
  }
}

TEST_P(VectorsTest, TokensPushedOneByOneGiveTheSameText) {
  const auto tokenizer = Tokenizer::load(kTokenizers / GetParam()).value();
  for (const json& vector : vectors_["vectors"]) {
    const Ids ids = vector["ids"];
    IncrementalDecoder decoder(tokenizer);
    std::string text;
    for (const int32_t id : ids) text += decoder.push(id);
    EXPECT_EQ(text + decoder.finish(), vector["decoded_skip_special"].get<std::string>()) << vector["text"];
  }
}

INSTANTIATE_TEST_SUITE_P(All, VectorsTest, ::testing::Values("gpt2", "llama3", "qwen2", "sentencepiece-bpe"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(SentencePiece, TokenizerModelAloneEncodesAsSentencePieceDoes) {
  if (!std::filesystem::exists(kTokenizers)) GTEST_SKIP();
  const auto directory = std::filesystem::temp_directory_path() / "liveweight-sentencepiece";
  std::filesystem::create_directories(directory);
  std::filesystem::copy_file(kTokenizers / "sentencepiece-bpe/tokenizer.model", directory / "tokenizer.model",
                             std::filesystem::copy_options::overwrite_existing);
  const auto tokenizer = Tokenizer::load(directory);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  const json vectors = json::parse(read_text_file(kTokenizers / "sentencepiece-bpe/vectors.json").value());
  for (const json& vector : vectors["vectors"]) {
    EXPECT_EQ((*tokenizer)->encode(vector["text"].get<std::string>(), false).value(),
              vector["ids_sentencepiece"].get<Ids>())
        << vector["text"];
  }
  std::filesystem::remove_all(directory);
}

TEST(TokenizerErrors, GarbageIsRefusedByName) {
  const auto directory = std::filesystem::temp_directory_path() / "liveweight-tokenizer-errors";
  std::filesystem::create_directories(directory);
  const auto expect_error = [&](const char* file, const std::string& text, const char* named) {
    std::ofstream(directory / file) << text;
    const auto tokenizer = Tokenizer::load(directory);
    ASSERT_FALSE(tokenizer) << text;
    EXPECT_NE(tokenizer.error().message.find(named), std::string::npos) << tokenizer.error().message;
  };
  EXPECT_FALSE(Tokenizer::present(directory));
  EXPECT_FALSE(Tokenizer::load(directory));
  expect_error("tokenizer.model", "garbage", "tokenizer.model");
  expect_error("tokenizer.json", "{", "tokenizer.json");
  expect_error("tokenizer.json", std::string(100000, '['), "tokenizer.json");
  expect_error("tokenizer.json", R"({"model": {"type": "Unigram"}})", "Unigram");
  expect_error("tokenizer.json", R"({"model": {"vocab": {"a": -1}, "merges": []}})", "model.vocab");
  expect_error("tokenizer.json", R"({"model": {"vocab": {"a": 0}, "merges": ["a b"]}})", "model.merges[0]");
  expect_error("tokenizer.json",
               R"({"model": {"vocab": {"a": 0}, "merges": []}, "normalizer": {"type": "Magic"}})", "Magic");
  expect_error(
      "tokenizer.json",
      R"({"model": {"vocab": {}, "merges": []}, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"}})",
      "regular expression");
  expect_error("tokenizer.json", R"({"added_tokens": [{"id": 1, "content": "a", "special": 1, "type": 1}]})",
               "special");
  expect_error(
      "tokenizer.json",
      R"({"model": {"vocab": {}, "merges": [], "type": "BPE"}, "normalizer": {"type": "Prepend", "prepend": 1}})",
      "Prepend.prepend");
  std::filesystem::remove_all(directory);
}

// A length-delimited field of a protocol buffer.
std::string field(int number, const std::string& bytes) {
  return std::string{static_cast<char>(number << 3 | 2), static_cast<char>(bytes.size())} + bytes;
}

TEST(TokenizerErrors, AByteFallbackNeedsAPieceForEveryByte) {
  const std::string letter = field(1, field(1, "a")), byte = field(1, field(1, "<0x41>") + "\x18\x06");
  const std::string byte_fallback = field(2, "\x98\x02\x01");
  ASSERT_TRUE(parse_sentencepiece(letter + byte, true, true));
  const auto tokenizer = parse_sentencepiece(letter + byte + byte_fallback, true, true);
  ASSERT_FALSE(tokenizer);
  EXPECT_NE(tokenizer.error().message.find("byte_fallback"), std::string::npos) << tokenizer.error().message;
}

TEST(JsonTokenizer, RefusesTextsThatItsReplacementsDoubleAgainAndAgain) {
  const std::string twice = R"({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"})";
  std::string steps = twice;
  for (int i = 1; i < 40; ++i) steps += "," + twice;
  const auto tokenizer = parse_tokenizer_json(R"({"model": {"vocab": {"a": 0}, "merges": [], "type": "BPE"},
 "normalizer": {"type": "Sequence", "normalizers": [)" +
                                              steps + "]}}");
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  const auto ids = (*tokenizer)->encode("a");
  ASSERT_FALSE(ids);
  EXPECT_EQ(ids.error().code, ErrorCode::kUnsupported);
}

TEST(TokenizerSpeed, AMegabyteOfOneLetterEncodes) {
  if (!std::filesystem::exists(kTokenizers)) GTEST_SKIP();
  const auto tokenizer = Tokenizer::load(kTokenizers / "llama3").value();
  EXPECT_FALSE(tokenizer->encode(std::string(1 << 20, 'a')).value().empty());
}

}  // namespace
}  // namespace liveweight
