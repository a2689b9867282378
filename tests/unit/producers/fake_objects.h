// Stand-ins for files: an object store whose objects are real files without a name (so that descriptors and times are
// real), the check for writers, and the marks on outputs. In bucket "b".
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "async/sim_event_loop.h"
#include "async/sleep.h"
#include "core/fd.h"
#include "runtime/executor.h"
#include "storage/object_store.h"
#include "storage/output_store.h"

namespace millrace::test {

inline std::unexpected<Error> injected(Errc code) {
  return fail(code, "injected");
}

class FakeObjects final : public ObjectStore {
 public:
  explicit FakeObjects(EventLoop& loop) : loop_(loop) {}

  std::map<std::string, Errc> open_fails;  // by key
  std::optional<Errc> list_fails;
  std::size_t lists = 0;

  // Makes or replaces an object.
  void put(const std::string& key, const std::string& text, std::int64_t mtime_s = 1'000'000'000) {
    files_[key] = Fd(::memfd_create("object", MFD_CLOEXEC));
    modify(key, text, mtime_s);
  }

  // Writes more of it: the same file.
  void modify(const std::string& key, const std::string& text, std::int64_t mtime_s) {
    const int fd = files_.at(key).get();
    const timespec time{.tv_sec = mtime_s, .tv_nsec = 0};
    const timespec times[2] = {time, time};
    if (::pwrite(fd, text.data(), text.size(), 0) < 0 || ::futimens(fd, times) != 0) throw std::runtime_error("write");
  }

  void erase(const std::string& key) { files_.erase(key); }

  [[nodiscard]] ObjectVersion version(const std::string& key) const {
    struct stat status{};
    ::fstat(files_.at(key).get(), &status);
    return {.size_bytes = static_cast<std::uint64_t>(status.st_size),
            .mtime_ns = status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec,
            .inode = status.st_ino};
  }

  Task<Result<ObjectInfo>> stat(std::string, std::string key) override {
    co_await yield(loop_);
    if (!files_.contains(key)) co_return injected(Errc::not_found);
    co_return ObjectInfo{.key = key, .version = version(key)};
  }

  Task<Result<Listing>> list(std::string, std::string prefix, std::string after, std::size_t limit) override {
    co_await yield(loop_);
    ++lists;
    if (list_fails) co_return injected(*list_fails);
    Listing listing;
    for (auto file = files_.upper_bound(after); file != files_.end(); ++file) {
      if (!file->first.starts_with(prefix)) continue;
      listing.truncated = listing.objects.size() == limit;
      if (listing.truncated) break;
      listing.objects.push_back({.key = file->first, .version = version(file->first)});
    }
    co_return listing;
  }

  Task<Result<OpenedObject>> open(ObjectRef object) override {
    co_await yield(loop_);
    const auto failing = open_fails.find(object.key);
    if (failing != open_fails.end()) co_return injected(failing->second);
    const auto file = files_.find(object.key);
    if (file == files_.end()) co_return injected(Errc::not_found);
    const std::string path = "/proc/self/fd/" + std::to_string(file->second.get());
    Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    co_return OpenedObject{.fd = std::move(fd), .version = version(object.key), .host_path = path};
  }

  Task<Result<void>> ensure_bucket(std::string) override { co_return Result<void>(); }
  Task<Result<void>> check_buckets(FunctionBuckets) override { co_return Result<void>(); }
  Task<Result<std::vector<std::string>>> buckets() override { co_return injected(Errc::unimplemented); }
  Task<Result<std::unique_ptr<Upload>>> start_put(std::string, std::string) override {
    co_return injected(Errc::unimplemented);
  }
  Task<Result<void>> remove(std::string, std::string) override { co_return injected(Errc::unimplemented); }

 private:
  EventLoop& loop_;
  std::map<std::string, Fd> files_;
};

class FakeChecks final : public WriteCheck {
 public:
  explicit FakeChecks(EventLoop& loop) : loop_(loop) {}

  WriteState state = WriteState::quiet;
  std::set<std::uint64_t> open_inodes;  // open for writing, whatever `state`
  std::optional<Errc> fails;
  std::function<void()> meanwhile;  // while a check is under way
  std::size_t checks = 0;
  std::size_t at_once_max = 0;

  Task<Result<WriteState>> check(Fd file) override {
    ++checks;
    at_once_max = std::max(at_once_max, ++at_once_);
    co_await yield(loop_);
    --at_once_;
    if (meanwhile) meanwhile();
    if (fails) co_return injected(*fails);
    struct stat status{};
    ::fstat(file.get(), &status);
    co_return open_inodes.contains(status.st_ino) ? WriteState::open_for_writing : state;
  }

 private:
  EventLoop& loop_;
  std::size_t at_once_ = 0;
};

// Only mark_of() is asked by producers.
class FakeOutputs final : public OutputStore {
 public:
  explicit FakeOutputs(EventLoop& loop) : loop_(loop) {}

  std::map<std::string, RunId> marks;  // by key
  std::optional<Errc> fails;

  Task<Result<std::optional<OutputMark>>> mark_of(ObjectRef object) override {
    co_await yield(loop_);
    if (fails) co_return injected(*fails);
    const auto mark = marks.find(object.key);
    if (mark == marks.end()) co_return std::optional<OutputMark>();
    co_return std::optional<OutputMark>(OutputMark{.run_id = mark->second});
  }

  Task<Result<AttemptDirectory>> make_attempt(AttemptPlace) override { co_return injected(Errc::unimplemented); }
  Task<Result<Sealed>> seal(AttemptPlace, SealLimits, OutputRank) override { co_return injected(Errc::unimplemented); }
  Task<Result<AttemptUsage>> measure(AttemptPlace, SealLimits) override { co_return injected(Errc::unimplemented); }
  Task<Result<std::vector<Placed>>> place(std::vector<OutputFile>, OutputRank) override {
    co_return injected(Errc::unimplemented);
  }
  Task<Result<void>> remove_attempt(AttemptPlace) override { co_return injected(Errc::unimplemented); }
  Task<Result<std::vector<FoundAttempt>>> attempts(AttemptPlace, std::size_t) override {
    co_return injected(Errc::unimplemented);
  }

 private:
  EventLoop& loop_;
};

}  // namespace millrace::test
