#include "demo/record.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace liveweight::demo {
namespace {

using Json = nlohmann::ordered_json;

Spread spread_of(const Record& record, double Reloaded::*member) {
  std::vector<double> values;
  for (size_t i = 1; i < record.rows.size(); ++i) values.push_back(record.rows[i].reloaded.*member);
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  const double median = values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {median, values.back()};
}

template <typename Predicate>
bool all_rows(const Record& record, Predicate predicate) {
  return !record.rows.empty() && std::all_of(record.rows.begin(), record.rows.end(), predicate);
}

Json json_of(const Row& row) {
  return {{"version", row.reloaded.version},
          {"checkpoint", row.checkpoint.name},
          {"reload_ms", row.reloaded.reload_ms},
          {"pause_us", row.reloaded.pause_us},
          {"digest", row.reloaded.digest},
          {"cold_digest", row.reloaded.cold_digest},
          {"equal", row.reloaded.warm_equals_cold()},
          {"addresses_unchanged", row.reloaded.addresses_unchanged},
          {"quantization_error_percent", row.reloaded.quantization_percent},
          {"accuracy", row.answers.accuracy()},
          {"reference_accuracy", row.checkpoint.reference_accuracy},
          {"answered", row.answers.whole},
          {"spanning", row.answers.spanning},
          {"tokens", row.answers.tokens},
          {"seconds", row.seconds},
          {"tokens_per_second", row.tokens_per_second()},
          {"failed", row.failed}};
}

Json json_of(const BadUpdate& bad) {
  Json json = {{"what", bad.what}, {"after_version", bad.after_row}, {"refused", bad.refused.has_value()}};
  if (!bad.refused) return json;
  json["error"] = {{"code", to_string(bad.refused->error.code)}, {"message", bad.refused->error.message}};
  json["changed_nothing"] = bad.refused->changed_nothing;
  return json;
}

Json json_of(const Spread& spread) {
  return {{"median", spread.median}, {"maximum", spread.maximum}};
}

const char* yes(bool value) {
  return value ? "yes" : "NO";
}

int64_t per_second(const Record& record) {
  return record.seconds > 0 ? static_cast<int64_t>(static_cast<double>(record.total.tokens) / record.seconds)
                            : 0;
}

}  // namespace

std::string grouped(int64_t number) {
  std::string digits = std::to_string(number);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(static_cast<size_t>(at), 1, ',');
  return digits;
}

Spread reload_ms(const Record& record) {
  return spread_of(record, &Reloaded::reload_ms);
}

Spread pause_us(const Record& record) {
  return spread_of(record, &Reloaded::pause_us);
}

std::vector<Promise> promises(const Record& record) {
  const std::vector<Row>& rows = record.rows;
  std::vector<Promise> all = {
      {"no request failed", record.failed == 0 && record.requests > 0},
      {"warm equals cold in every version",
       all_rows(record, [](const Row& row) { return row.reloaded.warm_equals_cold(); })},
      {"nothing moved", record.addresses_unchanged && all_rows(record, [](const Row& row) {
                          return row.reloaded.addresses_unchanged;
                        })}};
  if (!record.bad_updates.empty()) {
    const auto held = [](const BadUpdate& bad) { return bad.held(); };
    all.push_back({"bad updates were refused and changed nothing",
                   std::all_of(record.bad_updates.begin(), record.bad_updates.end(), held)});
  }
  if (rows.size() > 1) {
    all.push_back({"accuracy rose", rows.back().answers.accuracy() > rows.front().answers.accuracy()});
  }
  return all;
}

std::string to_json(const Record& record) {
  Json rows = Json::array(), bad_updates = Json::array(), kept = Json::object();
  for (const Row& row : record.rows) rows.push_back(json_of(row));
  for (const BadUpdate& bad : record.bad_updates) bad_updates.push_back(json_of(bad));
  bool ok = !record.interrupted;
  for (const auto& [name, is_kept] : promises(record)) {
    kept[name] = is_kept;
    ok = ok && is_kept;
  }
  const Json summary = {{"versions", record.rows.size()},
                        {"seconds", record.seconds},
                        {"requests", record.requests},
                        {"failed", record.failed},
                        {"spanning", record.total.spanning},
                        {"tokens", record.total.tokens},
                        {"reload_ms", json_of(reload_ms(record))},
                        {"pause_us", json_of(pause_us(record))},
                        {"promises", kept},
                        {"interrupted", record.interrupted},
                        {"ok", ok}};
  const Json all = {
      {"scheme", record.scheme}, {"rows", rows}, {"bad_updates", bad_updates}, {"summary", summary}};
  return all.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string summary_text(const Record& record) {
  const Spread reload = reload_ms(record), pause = pause_us(record);
  std::string text = fmt::format(
      "\n{} requests, {} failed, while {} versions were served in {:.0f} s{}\n"
      "  tokens     {} ({} a second), each of one version\n"
      "  spanning   {} requests went on over an update\n"
      "  reload     {:.2f} ms median, {:.2f} ms maximum, beside the requests\n"
      "  pause      {:.2f} us median, {:.2f} us maximum\n",
      grouped(record.requests), grouped(record.failed), record.rows.size(), record.seconds,
      record.interrupted ? " (interrupted)" : "", grouped(record.total.tokens), grouped(per_second(record)),
      grouped(record.total.spanning), reload.median, reload.maximum, pause.median, pause.maximum);
  for (const auto& [name, kept] : promises(record)) text += fmt::format("  {:<45} {}\n", name, yes(kept));
  if (!record.first_failure.empty()) text += fmt::format("  first failure: {}\n", record.first_failure);
  return text;
}

}  // namespace liveweight::demo
