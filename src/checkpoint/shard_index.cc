#include "checkpoint/shard_index.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <set>

namespace liveweight {
namespace {

using simdjson::dom::element;
using simdjson::dom::object;

tl::unexpected<Error> bad(const std::filesystem::path& where, const std::string& what,
                          std::vector<std::string> names = {}) {
  names.insert(names.begin(), where.string());
  return fail(ErrorCode::kBadCheckpoint, fmt::format("{}: {}", where.string(), what), std::move(names));
}

tl::unexpected<Error> twice(const std::filesystem::path& where, std::string_view key) {
  return bad(where, fmt::format("{} is there twice", key), {std::string(key)});
}

bool is_plain_file_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

}  // namespace

struct ShardIndex::Document {
  simdjson::dom::parser parser;
  object root;
};

ShardIndex::ShardIndex(std::unique_ptr<Document> document) : document_(std::move(document)) {}
ShardIndex::ShardIndex(ShardIndex&&) noexcept = default;
ShardIndex& ShardIndex::operator=(ShardIndex&&) noexcept = default;
ShardIndex::~ShardIndex() = default;

Result<ShardIndex> ShardIndex::parse(const std::filesystem::path& path, const std::string& text) {
  constexpr size_t kDeepest = 32;
  auto document = std::make_unique<Document>();
  element root;
  auto error = document->parser.allocate(std::max<size_t>(text.size(), 1), kDeepest);
  if (!error) error = document->parser.parse(text).get(root);
  if (error) return bad(path, fmt::format("expected JSON in UTF-8: {}", simdjson::error_message(error)));
  if (root.get(document->root)) return bad(path, "expected a JSON object");
  ShardIndex index(std::move(document));
  LW_TRY(index.read(path));
  return index;
}

// JSON libraries keep silent about keys that are there twice.
Status ShardIndex::read(const std::filesystem::path& path) {
  std::set<std::string_view> keys;
  for (const auto& field : document_->root) {
    if (!keys.insert(field.key).second) return twice(path, field.key);
  }
  LW_TRY(read_metadata(path));
  LW_TRY(read_weight_map(path));
  const bool may_be_empty = metadata_.contains("delta_encoding");  // nothing changed
  if (entries_.empty() && !may_be_empty) return bad(path, "weight_map: it names no tensor");
  return {};
}

Status ShardIndex::read_metadata(const std::filesystem::path& path) {
  object metadata;
  if (document_->root["metadata"].get(metadata)) return {};
  std::set<std::string_view> keys;
  for (const auto& field : metadata) {
    if (!keys.insert(field.key).second) return twice(path, field.key);
    std::string_view text;
    if (!field.value.get(text)) metadata_.emplace(field.key, text);
    if (field.value.is<int64_t>() || field.value.is<uint64_t>()) {
      metadata_.emplace(field.key, simdjson::minify(field.value));
    }
  }
  return {};
}

Status ShardIndex::read_weight_map(const std::filesystem::path& path) {
  object map;
  if (document_->root["weight_map"].get(map)) return bad(path, "weight_map: expected an object");
  std::map<std::string_view, uint32_t> places;
  std::vector<std::string_view> shard_of;
  entries_.reserve(map.size());
  shard_of.reserve(map.size());
  for (const auto& [tensor, value] : map) {
    std::string_view shard;
    if (value.get(shard) || !is_plain_file_name(shard)) {
      return bad(path,
                 fmt::format("weight_map.{}: expected a file's name without a path, got {}", tensor,
                             simdjson::minify(value)),
                 {std::string(tensor)});
    }
    // Neighbours mostly have the same shard.
    if (shard_of.empty() || shard_of.back() != shard) places.emplace(shard, 0);
    entries_.push_back({tensor});
    shard_of.push_back(shard);
  }
  for (auto& [shard, place] : places) {
    place = static_cast<uint32_t>(shards_.size());
    shards_.emplace_back(shard);
  }
  const auto name_of = [&](uint32_t entry) { return entries_[entry].tensor; };
  names_.reserve(entries_.size(), name_of);
  auto at = places.begin();
  for (uint32_t i = 0; i < entries_.size(); ++i) {
    if (at->first != shard_of[i]) at = places.find(shard_of[i]);
    entries_[i].shard = at->second;
    if (names_.add(entries_[i].tensor, i, name_of)) return twice(path, entries_[i].tensor);
  }
  return {};
}

std::optional<uint32_t> ShardIndex::find(std::string_view tensor, size_t shard,
                                         std::optional<uint32_t> after) const {
  const auto is = [&](uint32_t entry) { return entries_[entry].tensor == tensor; };
  std::optional<uint32_t> found = after ? *after + 1 : 0;
  if (*found >= entries_.size() || !is(*found)) {
    found = names_.find(tensor, [&](uint32_t entry) { return entries_[entry].tensor; });
  }
  return found && entries_[*found].shard == shard ? found : std::nullopt;
}

}  // namespace liveweight
