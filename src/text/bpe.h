// Byte-pair encoding: the best-ranked neighbours merge until none can.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/component.h"

namespace liveweight {

class BpeModel {
 public:
  // The `model` of a tokenizer.json.
  static Result<BpeModel> parse(const Json& json);

  void encode(std::string_view part, std::vector<int32_t>& ids) const;
  std::optional<int32_t> id_of(const std::string& token) const;
  const std::string* token_of(int32_t id) const;

 private:
  Status read_vocabulary(const Json& json);
  Status read_merges(const Json& json);
  Status read_options(const Json& json);
  std::vector<int32_t> initial_symbols(std::string_view part) const;

  struct Merge {
    int32_t rank;
    int32_t id;
  };
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> vocabulary_;
  std::unordered_map<int32_t, std::string> tokens_;
  std::unordered_map<uint64_t, Merge> merges_;
  std::array<int32_t, 256> byte_ids_{};  // of <0x00> to <0xFF>; -1 where there is none
  std::optional<int32_t> unknown_;
  bool fuse_unknown_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
};

// Merges in the order of a queue: `rank_of(left, right)` gives {rank, merged id} or nothing. Used by both
// kinds of BPE.
struct MergeCandidate {
  float rank;
  int32_t id;
};
template <typename RankOf>
std::vector<int32_t> merge_symbols(std::vector<int32_t> symbols, const RankOf& rank_of);

}  // namespace liveweight

#include "text/merge-inl.h"
