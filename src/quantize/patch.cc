#include "quantize/patch.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "quantize/unit_layout.h"
#include "tensor/codec.h"

namespace liveweight {
namespace {

// How many batches a processor's outstanding fetches are spread over.
constexpr int64_t kUnderWay = 4;

}  // namespace

ColumnRange columns_of_units(const KernelFormat& format) {
  const int64_t begin = format.source_col, end = format.source_col + format.cols, size = format.scheme.size;
  switch (format.scheme.granularity) {
    case Granularity::kNone:
      return {begin, end};
    case Granularity::kGroup:
    case Granularity::kBlock:
      return {begin / size * size, std::min((end + size - 1) / size * size, format.source_cols)};
    default:
      return {0, format.source_cols};
  }
}

// Elements that are patched together.
struct ElementPatcher::Batch {
  int64_t count = 0;
  uint64_t kept = 0;              // a bit for each: whether the region keeps it
  std::byte nowhere{};            // takes the codes of the others
  uint32_t index[kElementBatch];  // among the changes
  std::byte* code[kElementBatch];
  uint8_t shift[kElementBatch];  // of the code in its byte
  const std::byte* scale[kElementBatch];
  ElementBatch elements;
};

ElementPatcher::ElementPatcher(const SlotRegion& region, DType source)
    : region_(region),
      format_(*region.format),
      source_(source),
      element_bytes_(bits_of(source) / 8),
      code_bits_(code_bits(format_)),
      unit_cols_(columns_of_units(format_)) {
  if (!format_.scheme.quantizes()) return;
  rule_ = ElementRule(format_.scheme, source);
  for (int code = 0; code < 256; ++code) may_decide_[code] = rule_.may_decide(static_cast<uint8_t>(code));
}

// Elements whose old values tell whether they held their units' scales up. They are fetched together, as they
// lie apart and each would be waited for.
class ElementPatcher::Questions {
 public:
  Questions(const ElementPatcher& patcher, const ElementChanges& changes, std::vector<uint32_t>& doubtful)
      : patcher_(patcher), old_(changes.old), doubtful_(doubtful) {}

  void ask(uint32_t position, float scale) {
    if (!old_) return doubtful_.push_back(position);
    if (count_ == kElementBatch) answer();
    __builtin_prefetch(old_ + position * patcher_.element_bytes_);
    positions_[count_] = position;
    scales_[count_++] = scale;
  }

  void answer() {
    for (int64_t i = 0; i < count_; ++i) {
      const float old = std::fabs(load_high_precision(patcher_.source_, old_, positions_[i]));
      if (!(patcher_.rule_.scale_of(old) < scales_[i])) doubtful_.push_back(positions_[i]);
    }
    count_ = 0;
  }

 private:
  const ElementPatcher& patcher_;
  const std::byte* old_;
  std::vector<uint32_t>& doubtful_;
  int64_t count_ = 0;
  uint32_t positions_[kElementBatch];
  float scales_[kElementBatch];
};

void ElementPatcher::run(const ElementChanges& changes, std::vector<uint32_t>& doubtful) const {
  // A few batches are under way at once, each of about as many lines as a processor fetches at a time: memory
  // works all the while that one of them is encoded.
  Batch batches[kUnderWay];
  const ElementPlaces places(region_, changes.cols);
  size_t next = 0;
  Questions questions(*this, changes, doubtful);
  for (int64_t i = 0; i + 1 < kUnderWay; ++i) locate(changes, places, next, batches[i]);
  for (int64_t turn = 0; batches[turn % kUnderWay].count > 0; ++turn) {
    locate(changes, places, next, batches[(turn + kUnderWay - 1) % kUnderWay]);
    Batch& batch = batches[turn % kUnderWay];
    if (format_.scheme.quantizes()) {
      patch(changes, batch, doubtful, questions);
    } else {
      copy(changes, batch);
    }
  }
  questions.answer();
}

void ElementPatcher::locate(const ElementChanges& changes, const ElementPlaces& places, size_t& next,
                            Batch& batch) const {
  const auto begin = static_cast<uint32_t>(unit_cols_.begin);
  const auto cols = static_cast<uint32_t>(unit_cols_.end) - begin;
  int64_t count = 0;
  uint64_t kept = 0;
  size_t i = next;
  for (; i < changes.positions.size() && count < kElementBatch; ++i) {
    const ElementPlaces::Place place = places(changes.positions[i]);
    if (place.source_col - begin >= cols) continue;
    batch.index[count] = static_cast<uint32_t>(i);
    batch.scale[count] = region_.slot + place.scale;
    batch.code[count] = place.keeps ? region_.slot + place.code : &batch.nowhere;
    batch.shift[count] = place.shift;
    __builtin_prefetch(batch.scale[count]);
    __builtin_prefetch(batch.code[count], 1);
    kept |= uint64_t{place.keeps} << count;
    ++count;
  }
  next = i;
  batch.count = count;
  batch.kept = kept;
}

void ElementPatcher::gather(const ElementChanges& changes, Batch& batch) const {
  ElementBatch& elements = batch.elements;
  for (int64_t i = 0; i < batch.count; ++i) {
    // Copies of a fixed size are one instruction.
    if (element_bytes_ == 2) {
      std::memcpy(elements.elements + i * 2, changes.values + size_t{batch.index[i]} * 2, 2);
    } else {
      std::memcpy(elements.elements + i * 4, changes.values + size_t{batch.index[i]} * 4, 4);
    }
  }
  if (format_.scale.dtype == DType::kF32) {
    for (int64_t i = 0; i < batch.count; ++i) std::memcpy(&elements.scale[i], batch.scale[i], sizeof(float));
    return;
  }
  uint16_t halves[kElementBatch];
  for (int64_t i = 0; i < batch.count; ++i) std::memcpy(&halves[i], batch.scale[i], sizeof halves[i]);
  for (int64_t i = 0; i < batch.count; ++i) {
    elements.scale[i] =
        format_.scale.dtype == DType::kBF16 ? bf16_to_float(halves[i]) : fp16_to_float(halves[i]);
  }
}

// Those whose old codes may be of elements that decide their scales, and those that are not here.
uint64_t ElementPatcher::may_have_decided(const Batch& batch) const {
  const auto mask = static_cast<uint8_t>((1 << code_bits_) - 1);
  uint64_t may = ~batch.kept;
  for (int64_t i = 0; i < batch.count; ++i) {
    const auto byte = static_cast<uint8_t>(*batch.code[i]);
    may |= uint64_t{may_decide_[byte >> batch.shift[i] & mask]} << i;
  }
  return may;
}

void ElementPatcher::patch(const ElementChanges& changes, Batch& batch, std::vector<uint32_t>& doubtful,
                           Questions& questions) const {
  gather(changes, batch);
  ElementBatch& elements = batch.elements;
  if (rule_.from_scale) {
    encode_elements(rule_, elements, batch.count);
  } else {
    elements.unclear = ~uint64_t{0};
  }
  const uint64_t all = (uint64_t{1} << batch.count) - 1, may = may_have_decided(batch);
  for (uint64_t left = all & (elements.large | elements.unclear | may); left; left &= left - 1) {
    const auto i = static_cast<int64_t>(__builtin_ctzll(left));
    const Doubt doubt = doubt_of(elements, i, may >> i & 1);
    if (doubt == Doubt::kNone) continue;
    const uint32_t position = changes.positions[batch.index[i]];
    if (doubt == Doubt::kAskOld) {
      questions.ask(position, elements.scale[i]);
    } else {
      doubtful.push_back(position);
    }
  }
  store(batch);
}

void ElementPatcher::store(const Batch& batch) const {
  if (code_bits_ == 8) {
    for (int64_t i = 0; i < batch.count; ++i) *batch.code[i] = std::byte{batch.elements.code[i]};
    return;
  }
  for (int64_t i = 0; i < batch.count; ++i) {
    const auto others = std::byte{0xf0} >> batch.shift[i];
    *batch.code[i] = (*batch.code[i] & others) | std::byte(batch.elements.code[i] & 0x0f) << batch.shift[i];
  }
}

ElementPatcher::Doubt ElementPatcher::doubt_of(const ElementBatch& elements, int64_t i,
                                               bool may_have_decided) const {
  if (elements.unclear >> i & 1) return Doubt::kDoubtful;
  const float scale = elements.scale[i];
  if (elements.large >> i & 1) {
    const float own = rule_.scale_of(std::fabs(load_high_precision(source_, elements.elements, i)));
    // What holds the scale up now holds it up whatever was there before.
    if (own == scale) return Doubt::kNone;
    if (!(own < scale)) return Doubt::kDoubtful;
  }
  return may_have_decided && scale != rule_.floor ? Doubt::kAskOld : Doubt::kNone;
}

void ElementPatcher::copy(const ElementChanges& changes, const Batch& batch) const {
  const auto bytes = static_cast<size_t>(element_bytes_);
  for (int64_t i = 0; i < batch.count; ++i) {
    if (batch.kept >> i & 1) std::memcpy(batch.code[i], changes.values + batch.index[i] * bytes, bytes);
  }
}

}  // namespace liveweight
