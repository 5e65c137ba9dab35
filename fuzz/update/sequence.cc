#include "fuzz/update/sequence.h"

namespace liveweight::fuzz {

Sequence::Sequence(Subject& subject, CommitMode mode, FuzzedDataProvider& input)
    : subject_(subject), input_(input), mode_(mode), tied_(subject.model.description().config.tied) {
  PlanOptions options = subject.options;
  options.mode = mode;
  live_ = testing::make_model(subject.model, subject.versions[0].catalog(), options).value();
  addresses_ = testing::addresses_of(*live_);
  for (const auto& [name, entry] : subject.versions[0].tensors) names_.push_back(name);
}

void Sequence::run() {
  for (int calls = 0; calls < 60 && input_.remaining_bytes() > 0; ++calls) step();
  pins_.clear();
  abort();
  update_.reset();
  put_all_of(input_.ConsumeIntegralInRange<int>(0, kVersions - 1));
  check();
}

void Sequence::step() {
  switch (input_.ConsumeIntegralInRange<int>(0, 18)) {
    case 0:
      return begin({});
    case 1:
      return begin_with_options();
    case 2:
      return put_all_of(input_.ConsumeIntegralInRange<int>(0, kVersions - 1));
    case 3:
      return put_rest();
    case 4:
      return put_whole(any_name(), any_version(), input_.ConsumeBool());
    case 5:
      return put_run();
    case 6:
      return put_region();
    case 7:
      return put_wrong();
    case 8:
      return put_not_finite();
    case 9:
      return put_alias();
    case 10:
      return put_changes();
    case 11:
      return put_wrong_changes();
    case 12:
      return prepare();
    case 13:
      return commit();
    case 14:
      return abort();
    case 15:
      return drop();
    case 16:
      return rollback();
    case 17:
      return input_.ConsumeBool() ? pin() : unpin();
    default:
      return input_.ConsumeBool() ? catch_up() : attach_mirror();
  }
}

// What must hold after any call.
void Sequence::check() {
  require(live_->version().number == (visible() ? expected_.number : 0),
          "the version is the one committed last");
  require(!visible() || live_->version().label == expected_.current->label, "the label is that version's");
  require(testing::addresses_of(*live_) == addresses_, "nothing moves");
  if (shut()) return;
  const auto digest = digest_of(*live_);
  require(digest.has_value() == visible(), "there is a version where one was committed");
  require(!digest || digest->model == subject_.cold(expected_.current->weights),
          "the model is what a cold load gives");
}

}  // namespace liveweight::fuzz
