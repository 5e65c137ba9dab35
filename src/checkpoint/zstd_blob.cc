#include "checkpoint/zstd_blob.h"

#include <fmt/format.h>
#include <zstd.h>

#include <algorithm>

#include "base/threads.h"

namespace liveweight {
namespace {

using Compressor = std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)>;
using Decompressor = std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)>;

constexpr size_t kWorthThreads = size_t{4} << 20;

tl::unexpected<Error> damaged(const char* why) {
  return fail(ErrorCode::kBadCheckpoint, fmt::format("the zstd frame cannot be read: {}", why));
}

tl::unexpected<Error> too_large(uint64_t most) {
  return fail(ErrorCode::kBadCheckpoint,
              fmt::format("the zstd frame holds more than the {} bytes that the tensor allows", most));
}

// Frames that do not say their size, or several: decoded into a buffer that grows up to the bound.
Result<Blob> decompress_unsized(std::span<const std::byte> compressed, uint64_t most) {
  const Decompressor context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  if (!context) return fail(ErrorCode::kResourceExhausted, "no memory for zstd");
  std::vector<std::byte> plain;
  ZSTD_inBuffer in{compressed.data(), compressed.size(), 0};
  size_t left = 1;
  while (left != 0 || in.pos < in.size) {
    const size_t before = plain.size();
    if (before > most) return too_large(most);
    plain.resize(std::min<uint64_t>(most + 1, before + std::max(before, ZSTD_DStreamOutSize())));
    ZSTD_outBuffer out{plain.data(), plain.size(), before};
    left = ZSTD_decompressStream(context.get(), &out, &in);
    if (ZSTD_isError(left)) return damaged(ZSTD_getErrorName(left));
    plain.resize(out.pos);
    if (left != 0 && in.pos == in.size && out.pos < out.size) return damaged("it is truncated");
  }
  if (plain.size() > most) return too_large(most);
  Blob blob{std::make_shared_for_overwrite<std::byte[]>(plain.size()), plain.size()};
  std::copy(plain.begin(), plain.end(), blob.data.get());
  return blob;
}

}  // namespace

Result<std::vector<std::byte>> zstd_compress(std::span<const std::byte> plain, int level) {
  const Compressor context(ZSTD_createCCtx(), ZSTD_freeCCtx);
  if (!context) return fail(ErrorCode::kResourceExhausted, "no memory for zstd");
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, level);
  if (plain.size() >= kWorthThreads) {
    ZSTD_CCtx_setParameter(context.get(), ZSTD_c_nbWorkers, default_threads());
  }
  std::vector<std::byte> out(ZSTD_compressBound(plain.size()));
  const size_t bytes = ZSTD_compress2(context.get(), out.data(), out.size(), plain.data(), plain.size());
  if (ZSTD_isError(bytes)) {
    return fail(ErrorCode::kInternal, fmt::format("zstd cannot compress: {}", ZSTD_getErrorName(bytes)));
  }
  out.resize(bytes);
  out.shrink_to_fit();
  return out;
}

Result<Blob> zstd_decompress(std::span<const std::byte> compressed, uint64_t most) {
  const unsigned long long declared = ZSTD_getFrameContentSize(compressed.data(), compressed.size());
  if (declared == ZSTD_CONTENTSIZE_ERROR) return damaged("it has no zstd header");
  const bool alone = ZSTD_findFrameCompressedSize(compressed.data(), compressed.size()) == compressed.size();
  if (declared == ZSTD_CONTENTSIZE_UNKNOWN || !alone) return decompress_unsized(compressed, most);
  if (declared > most) return too_large(most);
  Blob blob{std::make_shared_for_overwrite<std::byte[]>(declared), declared};
  const size_t bytes = ZSTD_decompress(blob.data.get(), declared, compressed.data(), compressed.size());
  if (ZSTD_isError(bytes)) return damaged(ZSTD_getErrorName(bytes));
  if (bytes != declared) return damaged("its size is not what its header says");
  return blob;
}

}  // namespace liveweight
