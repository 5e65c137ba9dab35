#include <fmt/format.h>

#include <iostream>

#include "cli/command.h"
#include "liveweight/tokenizer.h"

namespace liveweight::cli {
namespace {

struct TokenizeCommand {
  std::string directory;
  bool no_special = false;
  bool decode = false;
};

tl::unexpected<Error> bad_line(int64_t line, const char* expected) {
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("standard input, line {}: expected {}", line, expected));
}

Result<Json> encode_line(const TokenizeCommand& command, const Tokenizer& tokenizer, const std::string& line,
                         int64_t number) {
  const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_string()) return bad_line(number, "a JSON string");
  LW_ASSIGN(const auto ids, tokenizer.encode(json.get_ref<const std::string&>(), !command.no_special));
  return Json(ids);
}

Result<Json> decode_line(const TokenizeCommand& command, const Tokenizer& tokenizer, const std::string& line,
                         int64_t number) {
  const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_array()) return bad_line(number, "a JSON list of ids");
  std::vector<int32_t> ids;
  for (const auto& id : json) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > INT32_MAX)
      return bad_line(number, "a JSON list of ids");
    ids.push_back(id.get<int32_t>());
  }
  return Json(tokenizer.decode(ids, command.no_special));
}

Result<Outcome> run(const TokenizeCommand& command) {
  LW_ASSIGN(const auto tokenizer, Tokenizer::load(command.directory));
  Json results = Json::array();
  Outcome out;
  std::string line;
  for (int64_t number = 1; std::getline(std::cin, line); ++number) {
    if (line.empty()) continue;
    LW_ASSIGN(Json result, command.decode ? decode_line(command, *tokenizer, line, number)
                                          : encode_line(command, *tokenizer, line, number));
    out.text += result.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
    results.push_back(std::move(result));
  }
  out.json[command.decode ? "texts" : "ids"] = std::move(results);
  return out;
}

}  // namespace

Run add_tokenize(CLI::App& app) {
  auto command = std::make_shared<TokenizeCommand>();
  add_path(app, "DIR", command->directory, "directory with tokenizer.json or tokenizer.model")->required();
  app.add_flag("--no-special", command->no_special,
               "encode without the tokens that are put around every text; decode without special tokens");
  app.add_flag("--decode", command->decode, "read JSON lists of ids and print texts");
  return [command] { return run(*command); };
}

}  // namespace liveweight::cli
