// Text to tokens and back, as Hugging Face tokenizers do it: from `tokenizer.json` where it is there, else
// from `tokenizer.model` (SentencePiece). Immutable and thread-safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "liveweight/error.h"

namespace liveweight {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Whether the directory has a tokenizer at all.
  static bool present(const std::filesystem::path& directory);
  // kUnsupported names a component that is not known; kBadCheckpoint a field that is wrong.
  static Result<std::shared_ptr<const Tokenizer>> load(const std::filesystem::path& directory);

  // Text is UTF-8; bytes that are not become U+FFFD, as in Python. Special tokens are those that the
  // tokenizer adds around every text (BOS); special tokens written in the text are recognised either way.
  virtual Result<std::vector<int32_t>> encode(std::string_view text,
                                              bool add_special_tokens = true) const = 0;

  // Ids that the tokenizer does not know are passed over, as Hugging Face does.
  virtual std::string decode(std::span<const int32_t> ids, bool skip_special_tokens = true) const = 0;
};

// Text of tokens that come one by one: `push` gives what has become certain, whole characters only.
class IncrementalDecoder {
 public:
  explicit IncrementalDecoder(std::shared_ptr<const Tokenizer> tokenizer);
  std::string push(int32_t id);
  std::string finish();  // what is left, an unfinished character as U+FFFD

 private:
  std::string fresh_text() const;

  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<int32_t> ids_;
  size_t context_ = 0;  // ids before it are not decoded again
  size_t shown_ = 0;    // ids whose text was given
};

}  // namespace liveweight
