#include "text/bpe.h"

#include <fmt/format.h>

#include "text/utf8.h"

namespace liveweight {
namespace {

uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

Result<BpeModel> BpeModel::parse(const Json& json) {
  if (!json.is_object()) return bad_tokenizer("model: expected an object");
  const auto type = json.find("type");
  if (type != json.end() && *type != "BPE") {
    return fail(ErrorCode::kUnsupported,
                fmt::format("tokenizer.json: model {} is not supported, only BPE", type->dump()));
  }
  BpeModel model;
  LW_TRY(model.read_vocabulary(json));
  LW_TRY(model.read_merges(json));
  LW_TRY(model.read_options(json));
  return model;
}

Status BpeModel::read_vocabulary(const Json& json) {
  const auto vocabulary = json.find("vocab");
  if (vocabulary == json.end() || !vocabulary->is_object())
    return bad_tokenizer("model.vocab: expected an object");
  for (const auto& [token, id] : vocabulary->items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > INT32_MAX) {
      return bad_tokenizer(fmt::format("model.vocab: expected an id from 0 to 2^31 for {}", token));
    }
    vocabulary_.emplace(token, id.get<int32_t>());
    tokens_.emplace(id.get<int32_t>(), token);
  }
  for (int byte = 0; byte < 256; ++byte)
    byte_ids_[byte] = id_of(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  return {};
}

// "a b" or ["a", "b"], best first.
Status BpeModel::read_merges(const Json& json) {
  const auto merges = json.find("merges");
  if (merges == json.end() || !merges->is_array()) return bad_tokenizer("model.merges: expected a list");
  int32_t rank = 0;
  for (const Json& merge : *merges) {
    std::string left, right;
    if (merge.is_string()) {
      const auto& text = merge.get_ref<const std::string&>();
      const size_t space = text.find(' ');
      left = text.substr(0, space);
      right = space == std::string::npos ? "" : text.substr(space + 1);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = merge[0].get<std::string>();
      right = merge[1].get<std::string>();
    }
    const auto left_id = id_of(left), right_id = id_of(right), merged = id_of(left + right);
    if (left.empty() || right.empty() || !left_id || !right_id || !merged) {
      return bad_tokenizer(
          fmt::format("model.merges[{}]: expected two tokens of the vocabulary that join to a third", rank));
    }
    merges_.emplace(pair_key(*left_id, *right_id), Merge{rank++, *merged});
  }
  return {};
}

Status BpeModel::read_options(const Json& json) {
  for (const char* field : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (json.contains(field) && !json[field].is_null() && json[field] != "") {
      return fail(ErrorCode::kUnsupported, fmt::format("tokenizer.json: model.{} is not supported", field));
    }
  }
  LW_ASSIGN(fuse_unknown_, flag_field(json, "fuse_unk", false));
  LW_ASSIGN(byte_fallback_, flag_field(json, "byte_fallback", false));
  LW_ASSIGN(ignore_merges_, flag_field(json, "ignore_merges", false));
  if (json.contains("unk_token") && !json["unk_token"].is_null()) {
    LW_ASSIGN(const std::string token, text_field(json, "unk_token"));
    unknown_ = id_of(token);
    if (!unknown_) return bad_tokenizer(fmt::format("model.unk_token: {} is not in the vocabulary", token));
  }
  return {};
}

std::optional<int32_t> BpeModel::id_of(const std::string& token) const {
  const auto found = vocabulary_.find(token);
  return found == vocabulary_.end() ? std::nullopt : std::optional(found->second);
}

const std::string* BpeModel::token_of(int32_t id) const {
  const auto found = tokens_.find(id);
  return found == tokens_.end() ? nullptr : &found->second;
}

std::vector<int32_t> BpeModel::initial_symbols(std::string_view part) const {
  std::vector<int32_t> symbols;
  bool unknown_before = false;
  for (size_t at = 0; at < part.size();) {
    const std::string_view character = part.substr(at, character_length(part, at));
    at += character.size();
    if (const auto found = vocabulary_.find(character); found != vocabulary_.end()) {
      symbols.push_back(found->second);
      unknown_before = false;
      continue;
    }
    bool all_bytes = byte_fallback_;
    for (const char byte : character) all_bytes = all_bytes && byte_ids_[static_cast<uint8_t>(byte)] >= 0;
    if (all_bytes) {
      for (const char byte : character) symbols.push_back(byte_ids_[static_cast<uint8_t>(byte)]);
      unknown_before = false;
    } else if (unknown_) {
      if (!unknown_before || !fuse_unknown_) symbols.push_back(*unknown_);
      unknown_before = true;
    }
  }
  return symbols;
}

void BpeModel::encode(std::string_view part, std::vector<int32_t>& ids) const {
  if (ignore_merges_) {
    if (const auto found = vocabulary_.find(part); found != vocabulary_.end()) {
      ids.push_back(found->second);
      return;
    }
  }
  const auto rank_of = [&](int32_t left, int32_t right) -> std::optional<MergeCandidate> {
    const auto found = merges_.find(pair_key(left, right));
    if (found == merges_.end()) return std::nullopt;
    return MergeCandidate{static_cast<float>(found->second.rank), found->second.id};
  };
  const std::vector<int32_t> merged = merge_symbols(initial_symbols(part), rank_of);
  ids.insert(ids.end(), merged.begin(), merged.end());
}

}  // namespace liveweight
