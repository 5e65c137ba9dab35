#include "infer/completion_check.h"

#include <fmt/format.h>

namespace liveweight {

std::string fault_of(const Completion& completion) {
  if (completion.tokens.empty()) return "no token was generated";
  if (completion.finish_reason == FinishReason::kCancelled) return "cancelled";
  int64_t end = 0;
  uint64_t version = 0;
  for (const VersionSpan& span : completion.versions) {
    if (span.start != end || span.end <= span.start || span.version.number <= version) {
      return fmt::format("span [{}, {}) of version {} does not follow [.., {}) of version {}", span.start,
                         span.end, span.version.number, end, version);
    }
    end = span.end;
    version = span.version.number;
  }
  const auto tokens = static_cast<int64_t>(completion.tokens.size());
  return end == tokens ? "" : fmt::format("spans end at {} of {} tokens", end, tokens);
}

}  // namespace liveweight
