// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/journal.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/wire/codec.h"
#include "wire.pb.h"

namespace sluice::wire {
namespace {

// First word of the file. Its number is increased when older programs must not
// read the rest.
constexpr std::string_view kMagic = "sluice-journal-1";
constexpr std::size_t kChunkBytes = 1 << 20;
// The same bound as Client's for a message, and for the memory of an update.
constexpr std::size_t kRecordMax = 4'000'000;
constexpr std::size_t kUpdateMax = 512'000'000;
constexpr std::size_t kFileMax = 512'000'000;
constexpr std::size_t kWorthIt = 1 << 20;
// For a file, any value except 0 works.
constexpr std::uint64_t kOrigin = 1;

struct RecordHead {
  std::uint32_t bytes = 0;
  std::uint32_t reserved = 0;
  std::uint64_t checksum = 0;
};
static_assert(sizeof(RecordHead) == 16);

// FNV-1a.
std::uint64_t checksum_of(std::string_view bytes) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : bytes) {
    hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  }
  return hash;
}

// The head that a file must have to be usable here.
std::string head_for(const std::string& node) {
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  return std::string(kMagic) + " " + std::to_string(kVersion.major) + " " +
         boot + " " + node + "\n";
}

void append_record(std::string& to, const v1::FromOperator& message) {
  const auto bytes = message.SerializeAsString();
  const RecordHead head{.bytes = static_cast<std::uint32_t>(bytes.size()),
                        .reserved = 0,
                        .checksum = checksum_of(bytes)};
  to.append(reinterpret_cast<const char*>(&head), sizeof(head));
  to += bytes;
}

void append_records(std::string& to, Encoder encoder) {
  while (!encoder.done()) {
    v1::FromOperator message;
    encoder.next(kChunkBytes, *message.mutable_chunk());
    append_record(to, message);
  }
}

void append_record(std::string& to, OnUnknown value) {
  v1::FromOperator message;
  message.mutable_settings()->set_on_unknown(encode(value));
  append_record(to, message);
}

// A pointer to the caller's object; the encoder is destroyed before the
// function returns.
template <typename T>
std::shared_ptr<const T> borrowed(const T& value) {
  return {std::shared_ptr<void>(), &value};
}

template <typename Item>
void move_to_end(std::vector<Item>& to, std::vector<Item>& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()),
            std::make_move_iterator(from.end()));
}

// Reads the records in order.
class Replay {
 public:
  Result<void> add(std::string_view bytes) {
    v1::FromOperator message;
    if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      return fail("a record that is no message");
    }
    if (message.has_settings()) {
      kept_.on_unknown = decode(message.settings().on_unknown());
    }
    if (!message.has_chunk()) {
      return {};
    }
    auto update = decoder_.add(message.chunk());
    if (!update) {
      return std::unexpected(update.error());
    }
    return *update ? take(**update) : Result<void>();
  }

  // Absent if there was no snapshot.
  std::optional<Journal::Kept> finish() {
    if (!begun_) {
      return std::nullopt;
    }
    sluice::apply(kept_.state, later_);
    return std::move(kept_);
  }

 private:
  Result<void> take(Update& update) {
    if (update.snapshot == std::exchange(begun_, true)) {
      return fail("not one snapshot at the beginning");
    }
    if (update.snapshot) {
      kept_.state = std::move(update.state);
      return {};
    }
    // Merged first, because applying them one by one would cost the size of the
    // state each time.
    auto& from = update.transaction;
    move_to_end(later_.peers, from.peers);
    move_to_end(later_.entries, from.entries);
    move_to_end(later_.endpoints, from.endpoints);
    move_to_end(later_.rules, from.rules);
    move_to_end(later_.sets, from.sets);
    move_to_end(later_.names, from.names);
    move_to_end(later_.resolvers, from.resolvers);
    return {};
  }

  Decoder decoder_{kUpdateMax};
  bool begun_ = false;
  Transaction later_;
  Journal::Kept kept_;
};

// An incomplete last record was being written when the process ended; nothing
// of it was put into force.
Result<std::optional<Journal::Kept>> replay(std::string_view bytes) {
  Replay replay;
  while (bytes.size() >= sizeof(RecordHead)) {
    RecordHead head;
    std::memcpy(&head, bytes.data(), sizeof(head));
    if (head.bytes > kRecordMax) {
      return fail("a record of " + std::to_string(head.bytes) + " bytes");
    }
    bytes.remove_prefix(sizeof(head));
    if (bytes.size() < head.bytes) {
      break;
    }
    const auto record = bytes.substr(0, head.bytes);
    if (checksum_of(record) != head.checksum) {
      return fail("a record that is damaged");
    }
    if (auto added = replay.add(record); !added) {
      return std::unexpected(added.error());
    }
    bytes.remove_prefix(head.bytes);
  }
  return replay.finish();
}

Result<void> write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const auto written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written <= 0) {
      return fail_errno("write");
    }
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

}  // namespace

Result<std::optional<Journal::Kept>> Journal::load(
    const std::filesystem::path& file, const std::string& node) {
  const Fd in(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!in.valid()) {
    if (errno == ENOENT) {
      return std::optional<Kept>();
    }
    return fail_errno(file.string());
  }
  struct stat info{};
  if (::fstat(in.get(), &info) != 0) {
    return fail_errno(file.string());
  }
  if (!S_ISREG(info.st_mode) ||
      static_cast<std::size_t>(info.st_size) > kFileMax) {
    return fail(file.string() + ": no file, or too large a one");
  }
  std::string bytes(static_cast<std::size_t>(info.st_size), '\0');
  std::size_t size = 0;
  while (size < bytes.size()) {
    const auto got = ::read(in.get(), bytes.data() + size, bytes.size() - size);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return fail_errno(file.string());
    }
    if (got == 0) {
      break;
    }
    size += static_cast<std::size_t>(got);
  }
  bytes.resize(size);
  const auto head = head_for(node);
  if (!bytes.starts_with(head)) {
    return std::optional<Kept>();
  }
  auto kept = replay(std::string_view(bytes).substr(head.size()));
  if (!kept) {
    return with_context(file.string(), kept.error());
  }
  return kept;
}

Result<void> Journal::begin(const State& state, OnUnknown on_unknown) {
  auto bytes = head_for(node_);
  append_record(bytes, on_unknown);
  append_records(bytes, Encoder(kOrigin, 0, borrowed(state)));
  auto next = file_;
  next += ".new";
  Fd out(::open(next.c_str(),
                O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
  Result<void> done;
  if (!out.valid()) {
    done = fail_errno("open");
  } else {
    done = write_all(out.get(), bytes);
  }
  if (done && ::rename(next.c_str(), file_.c_str()) != 0) {
    done = fail_errno("rename");
  }
  if (!done) {
    ::unlink(next.c_str());
    give_up();
    return with_context(file_.string(), done.error());
  }
  out_ = std::move(out);
  first_bytes_ = bytes_ = bytes.size();
  return {};
}

// The file is also emptied, so that it is unusable even if it cannot be
// removed.
void Journal::give_up() {
  if (out_.valid()) {
    (void)::ftruncate(out_.get(), 0);
  }
  ::unlink(file_.c_str());
  out_.reset();
}

Result<void> Journal::append(const std::string& records) {
  if (!out_.valid()) {
    return {};
  }
  if (auto written = write_all(out_.get(), records); !written) {
    give_up();
    return with_context(file_.string(), written.error());
  }
  bytes_ += records.size();
  return {};
}

Result<void> Journal::add(const Transaction& transaction) {
  std::string records;
  append_records(records, Encoder(kOrigin, borrowed(transaction)));
  return append(records);
}

Result<void> Journal::set_on_unknown(OnUnknown value) {
  std::string records;
  append_record(records, value);
  return append(records);
}

bool Journal::grown() const {
  return out_.valid() &&
         bytes_ - first_bytes_ > std::max(first_bytes_, kWorthIt);
}

}  // namespace sluice::wire
