#include "text/post_processor.h"

#include <fmt/format.h>

namespace liveweight {
namespace {

Result<int32_t> id_at(const Json& id, const char* where) {
  if (id.is_number_unsigned() && id.get<uint64_t>() <= INT32_MAX) return id.get<int32_t>();
  return bad_tokenizer(fmt::format("{}: expected a token's id", where));
}

// `single` is a list of special tokens and the one place of the text.
Result<SpecialFrame> parse_template(const Json& json) {
  const Json single = json.value("single", Json()), known = json.value("special_tokens", Json::object());
  if (!single.is_array() || !known.is_object())
    return bad_tokenizer("TemplateProcessing.single: expected a list");
  SpecialFrame frame;
  bool text_seen = false;
  for (const Json& item : single) {
    if (item.is_object() && item.contains("Sequence")) {
      text_seen = true;
      continue;
    }
    const Json special = item.is_object() ? item.value("SpecialToken", Json()) : Json();
    const Json name = special.is_object() ? special.value("id", Json()) : Json();
    const Json token = name.is_string() ? known.value(name.get<std::string>(), Json()) : Json();
    const Json ids = token.is_object() ? token.value("ids", Json()) : Json();
    if (!ids.is_array())
      return bad_tokenizer("TemplateProcessing.single: expected special tokens that special_tokens lists");
    for (const Json& value : ids) {
      LW_ASSIGN(const int32_t id, id_at(value, "TemplateProcessing.special_tokens"));
      (text_seen ? frame.after : frame.before).push_back(id);
    }
  }
  return frame;
}

// ["</s>", 2]
Result<SpecialFrame> parse_pair(const Json& json) {
  SpecialFrame frame;
  for (const char* field : {"cls", "sep"}) {
    const Json pair = json.value(field, Json());
    if (!pair.is_array() || pair.size() != 2)
      return bad_tokenizer(fmt::format("{}: expected [token, id]", field));
    LW_ASSIGN(const int32_t id, id_at(pair[1], field));
    (field[0] == 'c' ? frame.before : frame.after).push_back(id);
  }
  return frame;
}

}  // namespace

Result<SpecialFrame> parse_post_processor(const Json& json) {
  if (json.is_null()) return SpecialFrame{};
  LW_ASSIGN(const std::string type, type_of(json, "post_processor"));
  if (type == "ByteLevel") return SpecialFrame{};
  if (type == "TemplateProcessing") return parse_template(json);
  if (type == "BertProcessing" || type == "RobertaProcessing") return parse_pair(json);
  if (type != "Sequence") {
    return fail(ErrorCode::kUnsupported,
                fmt::format("tokenizer.json: post_processor {} is not supported", type));
  }
  SpecialFrame frame;
  for (const Json& item : json.value("processors", Json::array())) {
    LW_ASSIGN(const SpecialFrame inner, parse_post_processor(item));
    frame.before.insert(frame.before.begin(), inner.before.begin(), inner.before.end());
    frame.after.insert(frame.after.end(), inner.after.begin(), inner.after.end());
  }
  return frame;
}

}  // namespace liveweight
