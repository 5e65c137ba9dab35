#include "text/sentencepiece.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <unordered_map>

#include "text/bpe.h"
#include "text/protobuf.h"
#include "text/utf8.h"

namespace liveweight {
namespace {

constexpr std::string_view kSpace = "\xe2\x96\x81";  // U+2581

enum class PieceType : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

struct ModelPiece {
  std::string text;
  float score = 0;
  PieceType type = PieceType::kNormal;
};

tl::unexpected<Error> bad(const std::string& what) {
  return fail(ErrorCode::kBadCheckpoint, "tokenizer.model: " + what, {"tokenizer.model"});
}

class SentencePieceTokenizer : public Tokenizer {
 public:
  Status read(std::string_view bytes, bool add_bos, bool add_eos) {
    add_bos_ = add_bos;
    add_eos_ = add_eos;
    ProtobufReader reader(bytes);
    while (const auto field = reader.next()) {
      if (field->number == 1) LW_TRY(read_piece(field->bytes));
      if (field->number == 2) LW_TRY(read_trainer(field->bytes));
      if (field->number == 3) LW_TRY(read_normalizer(field->bytes));
    }
    if (reader.failed() || pieces_.empty()) return bad("expected a SentencePiece model");
    LW_TRY(index_pieces());
    const bool all_bytes = std::find(byte_ids_.begin(), byte_ids_.end(), -1) == byte_ids_.end();
    return byte_fallback_ && !all_bytes
               ? Status(bad("byte_fallback: expected a piece for each of the 256 bytes"))
               : Status();
  }

  Result<std::vector<int32_t>> encode(std::string_view raw, bool add_special_tokens) const override {
    std::vector<int32_t> ids;
    if (add_special_tokens && add_bos_ && bos_ >= 0) ids.push_back(bos_);
    encode_normalized(normalize(replace_invalid_utf8(raw)), ids);
    if (add_special_tokens && add_eos_ && eos_ >= 0) ids.push_back(eos_);
    return ids;
  }

  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens) const override {
    std::string bytes;
    bool first = true;
    for (const int32_t id : ids) {
      if (id < 0 || id >= static_cast<int32_t>(pieces_.size())) continue;
      const ModelPiece& piece = pieces_[id];
      if (piece.type == PieceType::kByte) {
        bytes += static_cast<char>(byte_of(piece.text));
      } else if (piece.type == PieceType::kControl) {
        if (!skip_special_tokens) bytes += piece.text;
        continue;
      } else if (piece.type == PieceType::kUnknown) {
        if (!skip_special_tokens) bytes += piece.text;
      } else {
        std::string text = with_spaces(piece.text);
        if (first && add_dummy_prefix_ && text.starts_with(' ')) text.erase(0, 1);
        bytes += text;
      }
      first = false;
    }
    return replace_invalid_utf8(bytes);
  }

 private:
  Status read_piece(std::string_view bytes) {
    ModelPiece piece;
    ProtobufReader reader(bytes);
    while (const auto field = reader.next()) {
      if (field->number == 1) piece.text = field->bytes;
      if (field->number == 2) piece.score = field->as_float();
      if (field->number == 3) piece.type = static_cast<PieceType>(field->value);
    }
    if (reader.failed()) return bad(fmt::format("piece {} is malformed", pieces_.size()));
    if (!is_valid_utf8(piece.text)) return bad(fmt::format("piece {} is not UTF-8", pieces_.size()));
    pieces_.push_back(std::move(piece));
    return {};
  }

  Status read_trainer(std::string_view bytes) {
    ProtobufReader reader(bytes);
    while (const auto field = reader.next()) {
      constexpr uint64_t kBpe = 2;
      if (field->number == 3 && field->value != kBpe) {
        return fail(ErrorCode::kUnsupported,
                    "tokenizer.model: only SentencePiece models of type BPE are supported");
      }
      if (field->number == 35) byte_fallback_ = field->value != 0;
    }
    return reader.failed() ? Status(bad("trainer_spec is malformed")) : Status();
  }

  Status read_normalizer(std::string_view bytes) {
    ProtobufReader reader(bytes);
    while (const auto field = reader.next()) {
      if (field->number == 2 && !field->bytes.empty()) {
        return fail(
            ErrorCode::kUnsupported,
            "tokenizer.model: its normalizer_spec has a precompiled character map, which is not supported; a "
            "tokenizer.json beside it is");
      }
      if (field->number == 3) add_dummy_prefix_ = field->value != 0;
      if (field->number == 4) remove_extra_whitespaces_ = field->value != 0;
    }
    return reader.failed() ? Status(bad("normalizer_spec is malformed")) : Status();
  }

  Status index_pieces() {
    byte_ids_.fill(-1);
    for (size_t id = 0; id < pieces_.size(); ++id) {
      const ModelPiece& piece = pieces_[id];
      const auto number = static_cast<int32_t>(id);
      if (piece.type == PieceType::kUnknown) unknown_ = number;
      if (piece.type == PieceType::kControl && piece.text == "<s>") bos_ = number;
      if (piece.type == PieceType::kControl && piece.text == "</s>") eos_ = number;
      if (piece.type == PieceType::kByte) {
        const int byte = byte_of(piece.text);
        if (byte < 0)
          return bad(fmt::format("piece {}: expected a byte like <0x41>, got {}", id, piece.text));
        byte_ids_[byte] = number;
      }
      if (piece.type == PieceType::kNormal || piece.type == PieceType::kUserDefined)
        by_text_.emplace(piece.text, number);
      if (piece.type == PieceType::kUserDefined) {
        return fail(ErrorCode::kUnsupported,
                    fmt::format("tokenizer.model: user defined piece {} is not supported; a "
                                "tokenizer.json beside it is",
                                piece.text));
      }
    }
    return {};
  }

  static int byte_of(const std::string& text) {
    unsigned byte = 0;
    char end = 0;
    return std::sscanf(text.c_str(), "<0x%2X%c", &byte, &end) == 2 && end == '>' ? static_cast<int>(byte)
                                                                                 : -1;
  }

  static std::string with_spaces(std::string_view text) {
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const bool space = text.compare(at, kSpace.size(), kSpace) == 0;
      out += space ? ' ' : text[at];
      at += space ? kSpace.size() : 1;
    }
    return out;
  }

  std::string normalize(std::string_view text) const {
    if (remove_extra_whitespaces_) {
      const size_t begin = text.find_first_not_of(' '), end = text.find_last_not_of(' ');
      text = begin == std::string_view::npos ? std::string_view() : text.substr(begin, end - begin + 1);
    }
    if (text.empty()) return {};
    std::string out;
    if (add_dummy_prefix_) out += kSpace;
    for (size_t i = 0; i < text.size(); ++i) {
      const bool repeated = remove_extra_whitespaces_ && text[i] == ' ' && i > 0 && text[i - 1] == ' ';
      if (text[i] != ' ') out += text[i];
      if (text[i] == ' ' && !repeated) out += kSpace;
    }
    return out;
  }

  // Characters that are no piece get numbers beyond the pieces': they never merge, and become bytes or <unk>
  // at the end.
  void encode_normalized(const std::string& text, std::vector<int32_t>& ids) const {
    std::vector<int32_t> symbols;
    std::vector<std::string_view> strangers;
    const auto first_stranger = static_cast<int32_t>(pieces_.size());
    for (size_t at = 0; at < text.size();) {
      const std::string_view character = std::string_view(text).substr(at, character_length(text, at));
      at += character.size();
      const auto found = by_text_.find(std::string(character));
      if (found != by_text_.end()) {
        symbols.push_back(found->second);
      } else {
        symbols.push_back(first_stranger + static_cast<int32_t>(strangers.size()));
        strangers.push_back(character);
      }
    }
    const auto rank_of = [&](int32_t left, int32_t right) -> std::optional<MergeCandidate> {
      if (left >= first_stranger || right >= first_stranger) return std::nullopt;
      const auto found = by_text_.find(pieces_[left].text + pieces_[right].text);
      if (found == by_text_.end()) return std::nullopt;
      return MergeCandidate{-pieces_[found->second].score, found->second};
    };
    bool unknown_before = false;
    for (const int32_t id : merge_symbols(std::move(symbols), rank_of)) {
      const bool stranger = id >= first_stranger;
      if (!stranger) {
        ids.push_back(id);
      } else if (byte_fallback_) {
        for (const char byte : strangers[id - first_stranger])
          ids.push_back(byte_ids_[static_cast<uint8_t>(byte)]);
      } else if (!unknown_before) {
        ids.push_back(unknown_);
      }
      unknown_before = stranger;
    }
  }

  std::vector<ModelPiece> pieces_;
  std::unordered_map<std::string, int32_t> by_text_;
  std::array<int32_t, 256> byte_ids_{};
  int32_t unknown_ = 0, bos_ = -1, eos_ = -1;
  bool byte_fallback_ = false, add_dummy_prefix_ = true, remove_extra_whitespaces_ = true;
  bool add_bos_ = true, add_eos_ = false;
};

}  // namespace

Result<std::shared_ptr<const Tokenizer>> parse_sentencepiece(std::string_view bytes, bool add_bos,
                                                             bool add_eos) {
  auto tokenizer = std::make_shared<SentencePieceTokenizer>();
  LW_TRY(tokenizer->read(bytes, add_bos, add_eos));
  return tokenizer;
}

}  // namespace liveweight
