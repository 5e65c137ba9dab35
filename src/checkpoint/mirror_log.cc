#include "checkpoint/mirror_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>

#include "base/guarded.h"
#include "base/hash.h"
#include "checkpoint/mirror_sums.h"
#include "checkpoint/write.h"

namespace liveweight {
namespace {

enum class RecordType : uint64_t {
  kBegin = 0x3347524f5252494d,  // "MIRRORG3", the format's version
  kFirstBegin = 0x4247524f5252494d,
  kSecondBegin = 0x3247524f5252494d,
  kChange = 1,
  kSums = 2,
  kSettled = 3,
  kTakeBack = 4
};

// The begin of a log that an earlier Liveweight made.
bool is_earlier(RecordType type) {
  return type == RecordType::kFirstBegin || type == RecordType::kSecondBegin;
}

// Before each record's payload.
struct RecordHead {
  uint64_t type = 0;
  uint64_t bytes = 0;
  std::array<uint8_t, 16> checksum{};  // of type, bytes and payload
};

using Bytes = std::string;

void put(Bytes& out, const void* data, size_t bytes) {
  out.append(static_cast<const char*>(data), bytes);
}

void put_number(Bytes& out, uint64_t number) {
  put(out, &number, sizeof number);
}

void put_text(Bytes& out, const std::string& text) {
  put_number(out, text.size());
  put(out, text.data(), text.size());
}

std::array<uint8_t, 16> checksum_of(RecordType type, std::span<const std::byte> payload) {
  Hasher hasher;
  hasher.add_numbers({static_cast<int64_t>(type), static_cast<int64_t>(payload.size())});
  hasher.add(payload);
  return hasher.finish();
}

Bytes record_of(RecordType type, const Bytes& payload) {
  const RecordHead head{static_cast<uint64_t>(type), payload.size(),
                        checksum_of(type, std::as_bytes(std::span(payload)))};
  Bytes record;
  record.reserve(sizeof head + payload.size());
  put(record, &head, sizeof head);
  put(record, payload.data(), payload.size());
  return record;
}

Bytes begin_payload(uint64_t sequence, const std::string& version) {
  Bytes payload;
  put_number(payload, sequence);
  put_text(payload, version);
  return payload;
}

// Reads what the functions above put; `good` turns false where it ends too early.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  uint64_t number() {
    uint64_t value = 0;
    const auto from = take(sizeof value);
    if (good_) std::memcpy(&value, from.data(), sizeof value);
    return value;
  }
  std::string text() {
    const auto from = take(number());
    return good_ ? std::string(reinterpret_cast<const char*>(from.data()), from.size()) : std::string();
  }
  std::span<const std::byte> take(uint64_t bytes) {
    good_ = good_ && bytes <= bytes_.size();
    if (!good_) return {};
    const auto taken = bytes_.first(bytes);
    bytes_ = bytes_.subspan(bytes);
    return taken;
  }
  bool good() const { return good_; }

 private:
  std::span<const std::byte> bytes_;
  bool good_ = true;
};

// Its dtype and shape are not in the log (MirrorContent::complete).
TensorDelta read_delta(Reader& reader) {
  std::string name = reader.text();
  const auto positions = reader.take(reader.number());
  const auto values = reader.take(reader.number());
  ChangedCells cells;
  cells.positions.resize(positions.size() / sizeof(uint32_t));
  if (!cells.positions.empty()) std::memcpy(cells.positions.data(), positions.data(), positions.size());
  cells.values.assign(values.begin(), values.end());
  return make_delta(std::move(name), {}, {}, std::move(cells));
}

// False where the record does not fit what came before it.
bool read_record(RecordType type, Reader& reader, MirrorLogContent& content) {
  const uint64_t sequence = reader.number();
  if (type == RecordType::kBegin) {
    content.sequence = sequence;
    content.version = reader.text();
    content.origin.version = reader.text();
    content.origin.sample = reader.number();
    return reader.good();
  }
  const uint64_t last = content.last_sequence();
  if (type == RecordType::kChange || type == RecordType::kTakeBack) {
    MirrorChange change;
    change.sequence = sequence;
    change.takes_back = type == RecordType::kTakeBack;
    change.version = reader.text();
    for (uint64_t left = reader.number(); left > 0 && reader.good(); --left) {
      change.deltas.push_back(read_delta(reader));
    }
    if (!reader.good() || sequence != last + 1) return false;
    content.changes.push_back(std::move(change));
    return true;
  }
  if (content.changes.empty() || sequence != last) return false;
  MirrorChange& change = content.changes.back();
  if (type == RecordType::kSettled) {
    change.settled_in = reader.text();
    return reader.good();
  }
  if (type != RecordType::kSums) return false;
  change.has_sums = true;
  for (uint64_t left = reader.number(); left > 0 && reader.good(); --left) {
    const uint64_t part = reader.number();
    change.sums.emplace_back(part, reader.number());
  }
  return reader.good();
}

// The payload of the record that the bytes begin with, and its type; none where that is cut off or damaged.
struct Record {
  RecordType type = RecordType::kBegin;
  std::span<const std::byte> payload;
  uint64_t bytes() const { return sizeof(RecordHead) + payload.size(); }
};

std::optional<Record> first_record(std::span<const std::byte> bytes) {
  if (bytes.size() < sizeof(RecordHead)) return std::nullopt;
  RecordHead head;
  std::memcpy(&head, bytes.data(), sizeof head);
  const auto type = static_cast<RecordType>(head.type);
  const bool known = head.type - 1 < static_cast<uint64_t>(RecordType::kTakeBack);
  if (!known && type != RecordType::kBegin && !is_earlier(type)) return std::nullopt;
  if (head.bytes > bytes.size() - sizeof head) return std::nullopt;
  const auto payload = bytes.subspan(sizeof head, head.bytes);
  if (checksum_of(type, payload) != head.checksum) return std::nullopt;
  return Record{type, payload};
}

// One record at a time is on its way to the disk: where a later one than it is there, it was there, too. What
// it takes the place of is of an earlier state.
bool is_damage(std::span<const std::byte> rest, uint64_t last_sequence) {
  for (; rest.size() > sizeof(RecordHead); rest = rest.subspan(1)) {
    const std::optional<Record> record = first_record(rest);
    if (record && Reader(record->payload).number() > last_sequence) return true;
  }
  return false;
}

Result<uint64_t> append(const std::filesystem::path& path, uint64_t at, const Bytes& record) {
  LW_ASSIGN(const FileDescriptor file, open_regular_file(path, O_WRONLY));
  if (ftruncate(file.get(), static_cast<off_t>(at)) != 0) return io_error(path, "cut");
  const Status written = guarded([&]() -> Status {
    LW_TRY(write_file(file, path, std::as_bytes(std::span(record)), at, Step::kMirrorWrite));
    return sync_file(file, path);
  });
  if (written) return at + record.size();
  // What was not promised must not be found there later.
  if (ftruncate(file.get(), static_cast<off_t>(at)) != 0) return io_error(path, "cut");
  return tl::unexpected(written.error());
}

Result<std::vector<std::byte>> read_whole(const std::filesystem::path& path) {
  LW_ASSIGN(const FileDescriptor file, open_regular_file(path));
  struct stat facts {};
  if (fstat(file.get(), &facts) != 0) return io_error(path, "stat");
  std::vector<std::byte> bytes(static_cast<size_t>(facts.st_size));
  LW_ASSIGN(const size_t got, read_file(file, path, bytes));
  bytes.resize(got);
  return bytes;
}

tl::unexpected<Error> made_earlier(const std::filesystem::path& path) {
  return fail(ErrorCode::kUnsupported,
              fmt::format("{}: an earlier Liveweight made this mirror; remove {}, and it is made anew",
                          path.string(), path.parent_path().parent_path().string()),
              {path.string()});
}

}  // namespace

uint64_t identity_of_log(const std::filesystem::path& path, uint64_t bytes) {
  struct stat facts {};
  if (stat(path.c_str(), &facts) != 0 || static_cast<uint64_t>(facts.st_size) != bytes) return 0;
  Hasher hasher;
  hasher.add_numbers(
      {static_cast<int64_t>(facts.st_ino), static_cast<int64_t>(facts.st_dev), static_cast<int64_t>(bytes)});
  uint64_t identity = 0;
  std::memcpy(&identity, hasher.finish().data(), sizeof identity);
  return identity | 1;
}

Result<uint64_t> begin_mirror_log(const std::filesystem::path& path, uint64_t sequence,
                                  const std::string& version, const MirrorOrigin& origin) {
  Bytes payload = begin_payload(sequence, version);
  put_text(payload, origin.version);
  put_number(payload, origin.sample);
  const Bytes record = record_of(RecordType::kBegin, payload);
  ReplacementFile file(path);
  LW_TRY(file.create());
  LW_TRY(file.append(record.data(), record.size()));
  LW_TRY(file.finish());
  return record.size();
}

Result<MirrorLogContent> read_mirror_log(const std::filesystem::path& path) {
  LW_ASSIGN(const std::vector<std::byte> bytes, read_whole(path));
  MirrorLogContent content;
  std::span<const std::byte> rest(bytes);
  while (const std::optional<Record> record = first_record(rest)) {
    if (is_earlier(record->type)) return made_earlier(path);
    if ((content.bytes == 0) != (record->type == RecordType::kBegin)) break;
    Reader reader(record->payload);
    if (!read_record(record->type, reader, content)) break;
    content.bytes += record->bytes();
    rest = rest.subspan(record->bytes());
  }
  if (content.bytes == 0)
    return damaged_mirror(ErrorCode::kBadCheckpoint, path, "the first record of its log");
  if (!is_damage(rest, content.last_sequence())) return content;
  return damaged_mirror(ErrorCode::kBadCheckpoint, path,
                        fmt::format("the record at byte {} of its log, which others follow", content.bytes));
}

Result<uint64_t> append_change(const std::filesystem::path& path, uint64_t at, const MirrorChange& change) {
  Bytes payload = begin_payload(change.sequence, change.version);
  put_number(payload, change.deltas.size());
  for (const TensorDelta& delta : change.deltas) {
    put_text(payload, delta.name);
    put_number(payload, delta.positions.size_bytes());
    put(payload, delta.positions.data(), delta.positions.size_bytes());
    put_number(payload, delta.values.size());
    put(payload, delta.values.data(), delta.values.size());
  }
  return append(path, at,
                record_of(change.takes_back ? RecordType::kTakeBack : RecordType::kChange, payload));
}

Result<uint64_t> append_sums(const std::filesystem::path& path, uint64_t at, const MirrorChange& change) {
  Bytes payload;
  put_number(payload, change.sequence);
  put_number(payload, change.sums.size());
  for (const auto& [part, sum] : change.sums) {
    put_number(payload, part);
    put_number(payload, sum);
  }
  return append(path, at, record_of(RecordType::kSums, payload));
}

Result<uint64_t> append_settled(const std::filesystem::path& path, uint64_t at, const MirrorChange& change) {
  return append(path, at, record_of(RecordType::kSettled, begin_payload(change.sequence, change.settled_in)));
}

Status sync_log(const std::filesystem::path& path) {
  LW_ASSIGN(const FileDescriptor file, open_regular_file(path, O_RDWR));
  return sync_file(file, path);
}

}  // namespace liveweight
