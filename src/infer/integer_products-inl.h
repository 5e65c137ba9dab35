// Products of int8 codes, added up in int32: what an instruction set has for them, in structs of one
// interface. Included once for each instruction set.
#if defined(LIVEWEIGHT_INFER_INTEGER_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_INFER_INTEGER_PRODUCTS_INL_H_
#undef LIVEWEIGHT_INFER_INTEGER_PRODUCTS_INL_H_
#else
#define LIVEWEIGHT_INFER_INTEGER_PRODUCTS_INL_H_
#endif

#include <limits>

#include "infer/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace liveweight {
namespace HWY_NAMESPACE {

using SumTag = hn::Rebind<int32_t, FloatTag>;
using SumVector = hn::Vec<SumTag>;

// Adds to each lane the products of its four bytes, each 0 to 15, with those activations: `add_four`, where
// nothing is faster.
HWY_INLINE SumVector add_bytes(SumVector weights, const int8_t* x, SumVector sum) {
  const SumTag d;
  const auto add = [&](SumVector bytes, int8_t activation) HWY_ATTR {
    sum = hn::Add(sum, hn::Mul(hn::And(bytes, hn::Set(d, 0x0f)), hn::Set(d, int32_t{activation})));
  };
  add(weights, x[0]);
  add(hn::ShiftRight<8>(weights), x[1]);
  add(hn::ShiftRight<16>(weights), x[2]);
  add(hn::ShiftRight<24>(weights), x[3]);
  return sum;
}

#if HWY_TARGET != HWY_SCALAR
// In lane r of each block of four: the sum of that block of sums[r].
HWY_INLINE SumVector add_block_lanes(const SumVector* sums) {
  const SumTag d;
  const hn::RepartitionToWide<SumTag> d64;
  const auto add_pairs = [&](SumVector a, SumVector b) HWY_ATTR {
    return hn::BitCast(d64, hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b)));
  };
  const auto first = add_pairs(sums[0], sums[1]), second = add_pairs(sums[2], sums[3]);
  const auto lower = hn::InterleaveLower(d64, first, second), upper = hn::InterleaveUpper(d64, first, second);
  return hn::Add(hn::BitCast(d, lower), hn::BitCast(d, upper));
}

// As codes widened to 16 bits, two products a lane, weights as they are.
struct WideCodes {
  using WideTag = hn::Repartition<int16_t, SumTag>;
  using CodeTag = hn::Rebind<int8_t, WideTag>;
  using Codes = hn::Vec<WideTag>;
  static constexpr int32_t kBias = 0;

  static HWY_INLINE Codes load(const int8_t* from) {
    return hn::PromoteTo(WideTag(), hn::LoadU(CodeTag(), from));
  }
  static HWY_INLINE Codes biased(Codes codes) { return codes; }
};
#endif

#if HWY_TARGET == HWY_SCALAR
struct WideProducts {
  using CodeTag = hn::Rebind<int8_t, SumTag>;
  using Codes = SumVector;
  using Sum = SumVector;
  static constexpr int32_t kBias = 0;

  static HWY_INLINE Codes load(const int8_t* from) {
    return hn::PromoteTo(SumTag(), hn::LoadU(CodeTag(), from));
  }
  static HWY_INLINE Codes biased(Codes codes) { return codes; }
  static HWY_INLINE Sum sum_from(SumVector value) { return value; }
  static HWY_INLINE SumVector total_of(Sum sum) { return sum; }
  static HWY_INLINE void add(Codes weights, Codes activations, Sum& sum) {
    sum = hn::Add(sum, hn::Mul(weights, activations));
  }
  static HWY_INLINE void add_four(SumVector weights, const int8_t* x, Sum& sum) {
    sum = add_bytes(weights, x, sum);
  }
};
#elif HWY_ARCH_X86
struct WideProducts : WideCodes {
  using Sum = SumVector;

  static HWY_INLINE Sum sum_from(SumVector value) { return value; }
  static HWY_INLINE SumVector total_of(Sum sum) { return sum; }
  static HWY_INLINE void add(Codes weights, Codes activations, Sum& sum) {
    SumVector unused = hn::Zero(SumTag());
    sum = hn::ReorderWidenMulAccumulate(SumTag(), weights, activations, sum, unused);
  }
  static HWY_INLINE void add_four(SumVector weights, const int8_t* x, Sum& sum) {
    add_two(weights, x[0], x[2], sum);
    add_two(hn::ShiftRight<8>(weights), x[1], x[3], sum);
  }

 private:
  // Of the first and the third byte.
  static HWY_INLINE void add_two(SumVector weights, int8_t a, int8_t b, Sum& sum) {
    const SumTag d;
    const auto activations = hn::Set(d, (a & 0xffff) | static_cast<int32_t>(uint32_t(b) << 16));
    const auto bytes = hn::And(weights, hn::Set(d, 0x000f000f));
    add(hn::BitCast(WideTag(), bytes), hn::BitCast(WideTag(), activations), sum);
  }
};
#else
struct WideProducts : WideCodes {
  // Products of the upper halves are added up apart.
  struct Sum {
    SumVector lower;
    SumVector upper;
  };

  static HWY_INLINE Sum sum_from(SumVector value) { return {value, hn::Zero(SumTag())}; }
  static HWY_INLINE SumVector total_of(Sum sum) { return hn::Add(sum.lower, sum.upper); }
  static HWY_INLINE void add(Codes weights, Codes activations, Sum& sum) {
    sum.lower = hn::ReorderWidenMulAccumulate(SumTag(), weights, activations, sum.lower, sum.upper);
  }
  static HWY_INLINE void add_four(SumVector weights, const int8_t* x, Sum& sum) {
    sum.lower = add_bytes(weights, x, sum.lower);
  }
};
#endif

#if HWY_TARGET == HWY_AVX3
// VNNI adds four products a lane, of an unsigned code with a signed one: weights take on kBias, which
// kBias times the sum of a token's codes takes off again. Some processors of AVX3 have it and some have not,
// and Highway tells them apart only where there is much else: so the compiler may not know the instruction
// here, and it is asked for by its name.
struct VnniProducts {
  using CodeTag = hn::Repartition<int8_t, SumTag>;
  using Codes = hn::Vec<CodeTag>;
  using Sum = __m512i;
  static constexpr int32_t kBias = 128;

  static HWY_INLINE Codes load(const int8_t* from) { return hn::LoadU(CodeTag(), from); }
  static HWY_INLINE Codes biased(Codes codes) {
    return hn::Xor(codes, hn::Set(CodeTag(), std::numeric_limits<int8_t>::min()));
  }
  static HWY_INLINE Sum sum_from(SumVector value) { return value.raw; }
  static HWY_INLINE SumVector total_of(Sum sum) { return SumVector{sum}; }
  // By a copy of the sum: an array of which an instruction named elements would live on the stack.
  static HWY_INLINE void add(Codes weights, Codes activations, Sum& sum) {
    Sum value = sum;
    asm("vpdpbusd %2, %1, %0" : "+v"(value) : "v"(weights.raw), "v"(activations.raw));
    sum = value;
  }
  static HWY_INLINE void add_four(SumVector weights, const int8_t* x, Sum& sum) {
    Sum value = sum;
    asm("vpdpbusd %2%{1to16%}, %1, %0"
        : "+v"(value)
        : "v"(weights.raw), "m"(*reinterpret_cast<const int8_t(*)[4]>(x)));
    sum = value;
  }
};

HWY_INLINE bool supports_vnni() {
  return __builtin_cpu_supports("avx512vnni");
}

// Calls body with the products that are asked for.
template <typename Body>
HWY_INLINE void with_products(bool vnni, const Body& body) {
  if (vnni) return body(VnniProducts());
  body(WideProducts());
}
#else
HWY_INLINE bool supports_vnni() {
  return false;
}

template <typename Body>
HWY_INLINE void with_products(bool, const Body& body) {
  body(WideProducts());
}
#endif

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
