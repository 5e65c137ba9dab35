// Products of int8 codes, added up in int32: what each instruction set has for them. Included once for each.
#if defined(LIVEWEIGHT_INFER_INTEGER_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LIVEWEIGHT_INFER_INTEGER_PRODUCTS_INL_H_
#undef LIVEWEIGHT_INFER_INTEGER_PRODUCTS_INL_H_
#else
#define LIVEWEIGHT_INFER_INTEGER_PRODUCTS_INL_H_
#endif

#include <limits>

#include "infer/simd-inl.h"

// HWY_BEFORE_NAMESPACE for those that include this file. Processors of AVX3_DL have AVX512_VNNI, which this
// version of Highway asks the compiler for by another's name.
#undef LIVEWEIGHT_BEFORE_INTEGER_PRODUCTS
#if HWY_TARGET <= HWY_AVX3_DL
#define LIVEWEIGHT_BEFORE_INTEGER_PRODUCTS()        \
  HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni") \
  static_assert(true, "")
#else
#define LIVEWEIGHT_BEFORE_INTEGER_PRODUCTS() HWY_BEFORE_NAMESPACE()
#endif

LIVEWEIGHT_BEFORE_INTEGER_PRODUCTS();
namespace liveweight {
namespace HWY_NAMESPACE {

using SumTag = hn::Rebind<int32_t, FloatTag>;
using SumVector = hn::Vec<SumTag>;

#if HWY_TARGET <= HWY_AVX3_DL
// In the type that the compiler's own instruction has: another's would be a copy for each product.
using Sum = __v16si;
HWY_INLINE Sum zero_sum() {
  return Sum{};
}
HWY_INLINE SumVector total_of(Sum sum) {
  return SumVector{reinterpret_cast<__m512i>(sum)};
}
#elif HWY_ARCH_X86 || HWY_TARGET == HWY_SCALAR
using Sum = SumVector;
HWY_INLINE Sum zero_sum() {
  return hn::Zero(SumTag());
}
HWY_INLINE SumVector total_of(Sum sum) {
  return sum;
}
#else
// Products of the upper halves are added up apart.
struct Sum {
  SumVector lower;
  SumVector upper;
};
HWY_INLINE Sum zero_sum() {
  return {hn::Zero(SumTag()), hn::Zero(SumTag())};
}
HWY_INLINE SumVector total_of(Sum sum) {
  return hn::Add(sum.lower, sum.upper);
}
#endif

#if HWY_TARGET <= HWY_AVX3_DL
// VNNI adds four products a lane, of an unsigned code with a signed one: weights take on kBias, which
// kBias times the sum of a token's codes takes off again.
using CodeTag8 = hn::Repartition<int8_t, SumTag>;
using CodeVector = hn::Vec<CodeTag8>;
inline constexpr int32_t kBias = 128;

HWY_INLINE CodeVector load_codes8(const int8_t* from) {
  return hn::LoadU(CodeTag8(), from);
}
HWY_INLINE CodeVector biased(CodeVector codes) {
  return hn::Xor(codes, hn::Set(CodeTag8(), std::numeric_limits<int8_t>::min()));
}
HWY_INLINE void multiply_add(CodeVector weights, CodeVector activations, Sum& sum) {
  sum = reinterpret_cast<Sum>(
      _mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum), weights.raw, activations.raw));
}
#elif HWY_TARGET == HWY_SCALAR
using CodeTag8 = hn::Rebind<int8_t, SumTag>;
using CodeVector = SumVector;
inline constexpr int32_t kBias = 0;

HWY_INLINE CodeVector load_codes8(const int8_t* from) {
  return hn::PromoteTo(SumTag(), hn::LoadU(CodeTag8(), from));
}
HWY_INLINE CodeVector biased(CodeVector codes) {
  return codes;
}
HWY_INLINE void multiply_add(CodeVector weights, CodeVector activations, Sum& sum) {
  sum = hn::Add(sum, hn::Mul(weights, activations));
}
#else
// Codes widened to 16 bits, two products a lane.
using WideTag = hn::Repartition<int16_t, SumTag>;
using CodeTag8 = hn::Rebind<int8_t, WideTag>;
using CodeVector = hn::Vec<WideTag>;
inline constexpr int32_t kBias = 0;

HWY_INLINE CodeVector load_codes8(const int8_t* from) {
  return hn::PromoteTo(WideTag(), hn::LoadU(CodeTag8(), from));
}
HWY_INLINE CodeVector biased(CodeVector codes) {
  return codes;
}
#if HWY_ARCH_X86
HWY_INLINE void multiply_add(CodeVector weights, CodeVector activations, Sum& sum) {
  SumVector unused = hn::Zero(SumTag());
  sum = hn::ReorderWidenMulAccumulate(SumTag(), weights, activations, sum, unused);
}
#else
HWY_INLINE void multiply_add(CodeVector weights, CodeVector activations, Sum& sum) {
  sum.lower = hn::ReorderWidenMulAccumulate(SumTag(), weights, activations, sum.lower, sum.upper);
}
#endif
#endif

}  // namespace HWY_NAMESPACE
}  // namespace liveweight
HWY_AFTER_NAMESPACE();
#endif
