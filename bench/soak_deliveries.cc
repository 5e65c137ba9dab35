#include "bench/soak_deliveries.h"

#include <algorithm>

namespace liveweight::bench {

Status put_in_runs(Update& update, const CheckpointTensor& tensor, Random& random) {
  const int64_t each = bits_of(tensor.view.dtype) / 8, elements = element_count(tensor.view.shape);
  std::vector<int64_t> edges = {0, elements};
  for (int i = 0; i < 3; ++i) {
    edges.push_back(static_cast<int64_t>(draw_below(random, static_cast<size_t>(elements) + 1)));
  }
  std::sort(edges.begin(), edges.end());
  std::vector<size_t> order = {1, 2, 3, 4};
  std::shuffle(order.begin(), order.end(), random);
  for (const size_t run : order) {
    const int64_t first = edges[run - 1], count = edges[run] - first;
    if (count == 0) continue;
    const std::byte* data = tensor.view.data + first * each;
    const std::vector<std::byte> copy(data, data + count * each);
    LW_TRY(update.put_flat(tensor.name, {tensor.view.dtype, {count}, copy.data(), copy.size()}, first));
  }
  return {};
}

TensorView without_a_row(TensorView view) {
  const uint64_t row = view.bytes / static_cast<uint64_t>(view.shape[0]);
  view.shape[0] -= 1;
  view.bytes -= row;
  return view;
}

TensorView with_nan(TensorView view, std::vector<std::byte>& bytes, Random& random) {
  bytes.assign(view.data, view.data + view.bytes);
  const auto each = static_cast<size_t>(bits_of(view.dtype) / 8);
  const size_t end = (draw_below(random, bytes.size() / each) + 1) * each;
  bytes[end - 1] = std::byte{0x7f};  // with the exponent's lowest bit: all of its bits set, in every type
  bytes[end - 2] = std::byte{0xff};
  view.data = bytes.data();
  return view;
}

}  // namespace liveweight::bench
