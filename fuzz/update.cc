// Sequences of calls on a live model and its updates, good and bad, held to a simple model of what must come
// of them: the digest is that of a cold load of what was committed, refused calls change nothing, versions
// only grow, pinned versions stay as they are, nothing moves, and the next good update works.
#include "fuzz/update/sequence.h"

namespace liveweight::fuzz {
namespace {

void check(const uint8_t* data, size_t size) {
  static const Scratch scratch;
  static std::map<size_t, Content> contents;
  static std::map<std::pair<size_t, size_t>, Subject> subjects;
  static const size_t schemes = testing::all_schemes().size();
  FuzzedDataProvider input(data, size);
  const auto config = input.ConsumeIntegralInRange<size_t>(0, kConfigs.size() - 1),
             scheme = input.ConsumeIntegralInRange<size_t>(0, schemes - 1);
  const auto mode = static_cast<CommitMode>(input.ConsumeIntegralInRange<int>(0, 2));
  auto content = contents.find(config);
  if (content == contents.end()) content = contents.emplace(config, Content::make(scratch, config)).first;
  const auto key = std::pair(config, scheme);
  Subject& subject = subjects.try_emplace(key, content->second, scheme).first->second;
  Sequence(subject, mode, input).run();
}

}  // namespace
}  // namespace liveweight::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  liveweight::fuzz::check(data, size);
  return 0;
}
