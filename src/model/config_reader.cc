#include "model/config_reader.h"

#include <fmt/format.h>

#include <cmath>

namespace liveweight {

const nlohmann::json* ConfigReader::find(const char* field) const {
  const auto found = object_.find(field);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

bool ConfigReader::has(const char* field) const {
  return find(field) != nullptr;
}

int64_t ConfigReader::count(const char* field, int64_t otherwise, int64_t lowest, int64_t highest) {
  const nlohmann::json* value = find(field);
  if (!value) return otherwise;
  const bool integer = value->is_number_unsigned() || value->is_number_integer();
  const bool fits =
      integer && (!value->is_number_unsigned() || value->get<uint64_t>() <= static_cast<uint64_t>(highest));
  if (fits && value->get<int64_t>() >= lowest && value->get<int64_t>() <= highest)
    return value->get<int64_t>();
  reject(field, fmt::format("an integer from {} to {}", lowest, highest));
  return otherwise;
}

int64_t ConfigReader::required_count(const char* field) {
  if (!has(field)) reject(field, "a positive integer");
  return count(field, 1);
}

double ConfigReader::number(const char* field, double otherwise) {
  const nlohmann::json* value = find(field);
  if (!value) return otherwise;
  if (value->is_number() && std::isfinite(value->get<double>())) return value->get<double>();
  reject(field, "a finite number");
  return otherwise;
}

bool ConfigReader::flag(const char* field, bool otherwise) {
  const nlohmann::json* value = find(field);
  if (!value) return otherwise;
  if (value->is_boolean()) return value->get<bool>();
  reject(field, "true or false");
  return otherwise;
}

std::string ConfigReader::text(const char* field, const std::string& otherwise) {
  const nlohmann::json* value = find(field);
  if (!value) return otherwise;
  if (value->is_string()) return value->get<std::string>();
  reject(field, "a string");
  return otherwise;
}

void ConfigReader::reject(const std::string& field, const std::string& expected) {
  if (error_) return;
  const auto found = object_.find(field);
  std::string got = found == object_.end()
                        ? "nothing"
                        : found->dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  if (got.size() > 80) got = got.substr(0, 77) + "...";
  error_ = Error{ErrorCode::kBadCheckpoint,
                 fmt::format("config.json: {}: expected {}, got {}", field, expected, got),
                 {field}};
}

Status ConfigReader::status() const {
  if (error_) return tl::unexpected(*error_);
  return {};
}

}  // namespace liveweight
