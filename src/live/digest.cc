#include "liveweight/digest.h"

#include "base/hash.h"
#include "base/threads.h"
#include "live/digest_table.h"
#include "quantize/kernel_format.h"

namespace liveweight {
namespace {

Digest digest_of_parameter(const PlannedParameter& parameter, const std::byte* slot) {
  const KernelFormat& format = *parameter.format;
  Hasher hasher;
  hasher.add_text(to_string(format.scheme));
  hasher.add_text(to_string(parameter.shape));
  for (const Part* part : {&format.data, &format.scale, &format.zero_point}) {
    hasher.add_text(part->bytes ? to_string(part->dtype) : "");
    hasher.add({slot + part->offset, part->bytes});
  }
  return Digest{hasher.finish()};
}

}  // namespace

ModelDigest digest_of_slots(const Plan& plan, const std::vector<const std::byte*>& slots) {
  ModelDigest digest;
  for (const PlannedParameter& parameter : plan.parameters())
    digest.tensors.emplace_back(parameter.name, Digest{});
  ThreadPool::shared().parallel_for(static_cast<int64_t>(slots.size()), [&](int64_t i) {
    digest.tensors[i].second = digest_of_parameter(plan.parameters()[i], slots[i]);
  });
  Hasher hasher;
  for (const auto& [name, tensor] : digest.tensors) {
    hasher.add_text(name);
    hasher.add(std::as_bytes(std::span(tensor.bytes)));
  }
  digest.model = Digest{hasher.finish()};
  return digest;
}

ModelDigest digest_of(const LiveModel& model, const Snapshot& snapshot) {
  return digest_of_slots(model.plan(), snapshot.table().slots);
}

Result<ModelDigest> digest_of(const LiveModel& model) {
  LW_ASSIGN(const Snapshot snapshot, model.pin());
  return digest_of(model, snapshot);
}

}  // namespace liveweight
