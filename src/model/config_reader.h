// Typed, bounded access to config.json's fields. The first field that is wrong is remembered; later reads
// give defaults.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "liveweight/error.h"

namespace liveweight {

class ConfigReader {
 public:
  explicit ConfigReader(const nlohmann::json& object) : object_(object) {}

  const nlohmann::json& object() const { return object_; }
  bool has(const char* field) const;  // there, and not null

  int64_t count(const char* field, int64_t otherwise, int64_t lowest = 1, int64_t highest = int64_t{1} << 31);
  // Without a default: missing is an error.
  int64_t required_count(const char* field);
  double number(const char* field, double otherwise);  // finite
  bool flag(const char* field, bool otherwise);
  std::string text(const char* field, const std::string& otherwise);

  void reject(const std::string& field, const std::string& expected);
  Status status() const;

 private:
  const nlohmann::json* find(const char* field) const;

  const nlohmann::json& object_;
  std::optional<Error> error_;
};

}  // namespace liveweight
