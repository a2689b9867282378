// What every object and output store is tested through: the two ports over one empty store of its own.
//
// To run both suites on a further adapter: a subclass of Stores and an entry in its list of kinds (see fs_stores.cc).
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "async/blocking_pool.h"
#include "async/uv_event_loop.h"
#include "storage/object_store.h"
#include "storage/output_store.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"
#include "tests/support/run_task.h"

namespace millrace::test {

class Stores {
 public:
  virtual ~Stores() = default;
  virtual ObjectStore& objects() = 0;
  virtual OutputStore& outputs() = 0;
};

struct StoreKind {
  std::string name;
  // Null: this host cannot have it; `why` says what is missing.
  std::unique_ptr<Stores> (*make)(EventLoop& loop, BlockingPool& pool, Log& log, Metrics& metrics, std::string& why);
};

inline void PrintTo(const StoreKind& kind, std::ostream* out) {
  *out << kind.name;
}  // NOLINT: GoogleTest's name

inline constexpr std::string_view kRunA = "aa000000000000000000000000000001";
inline constexpr std::string_view kRunB = "bb000000000000000000000000000002";

class StoreTest : public testing::TestWithParam<StoreKind> {
 protected:
  void SetUp() override {
    std::string why;
    stores_ = GetParam().make(loop_, pool_, log_, metrics_, why);
    if (!stores_) GTEST_SKIP() << why;
    ASSERT_TRUE(wait(objects().ensure_bucket("box")));
  }

  template <class T>
  T wait(Task<T> task) {
    return run_task(loop_, std::move(task));
  }

  ObjectStore& objects() { return stores_->objects(); }
  OutputStore& outputs() { return stores_->outputs(); }

  Result<ObjectInfo> put(const std::string& key, const std::string& content, const std::string& bucket = "box") {
    auto upload = wait(objects().start_put(bucket, key));
    if (!upload) return fail(upload.error());
    const auto written = (*upload)->write(content);
    if (!written) return fail(written.error());
    return wait((*upload)->commit());
  }

  // The content, or the code's name in <> when it cannot be opened.
  std::string content_of(const std::string& key, const std::string& bucket = "box") {
    return content_of(ObjectRef{.bucket = bucket, .key = key, .version = {}, .private_path = {}});
  }
  std::string content_of(ObjectRef object) {
    const auto opened = wait(objects().open(std::move(object)));
    if (!opened) return "<" + std::string(name_of(opened.error().code)) + ">";
    std::string text(4096, '\0');
    const auto got = read(opened->fd.get(), text.data(), text.size());
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return text;
  }

  // As it is right now.
  ObjectRef there(const std::string& key) {
    const auto info = wait(objects().stat("box", key));
    EXPECT_TRUE(info) << key;
    return {.bucket = "box", .key = key, .version = info ? info->version : ObjectVersion{}, .private_path = {}};
  }

  Errc put_error(const std::string& key) {
    const auto info = put(key, "x");
    return info ? Errc::internal : info.error().code;
  }

  static AttemptPlace attempt(std::string_view run = kRunA, char token = '1') {
    return {.bucket = "box", .run_id = RunId(std::string(run)), .token = AttemptToken(std::string(32, token))};
  }
  static OutputRank rank(char order, std::string_view run = kRunA, std::uint32_t generation = 0) {
    return {.order = Order(std::string(26, order)),
            .generation = generation,
            .event_id = EventId(std::string(32, 'e')),
            .run_id = RunId(std::string(run))};
  }
  static SealLimits limits() { return {.bytes_max = 1 << 30, .files_max = 1000}; }

  static void write_file(int directory, const std::string& name, const std::string& content, mode_t mode = 0644) {
    for (auto slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1)) {
      mkdirat(directory, name.substr(0, slash).c_str(), 0755);
    }
    const int fd = openat(directory, name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    ASSERT_GE(fd, 0) << name;
    ASSERT_EQ(write(fd, content.data(), content.size()), static_cast<ssize_t>(content.size()));
    ASSERT_EQ(fchmod(fd, mode), 0);
    close(fd);
  }

  // An attempt that left one file, sealed.
  SealedFile sealed_file(const AttemptPlace& place, const OutputRank& rank, const std::string& name,
                         const std::string& content) {
    const auto directory = wait(outputs().make_attempt(place));
    EXPECT_TRUE(directory) << directory.error().message;
    if (!directory) return {};
    write_file(directory->fd.get(), name, content);
    auto sealed = wait(outputs().seal(place, limits(), rank));
    EXPECT_TRUE(sealed) << sealed.error().message;
    if (!sealed || sealed->files.empty()) return {};
    return std::move(sealed->files.front());
  }

  // One result of a run that may have others.
  Result<Placed> place(OutputFile file, OutputRank rank) {
    const auto placed = wait(outputs().place({std::move(file)}, std::move(rank)));
    if (!placed) return fail(placed.error());
    EXPECT_EQ(placed->size(), 1U);
    return placed->at(0);
  }

  static ObjectRef private_copy(const SealedFile& file) {
    return {.bucket = "box", .key = "any", .version = {}, .private_path = file.private_path};
  }

  static OutputFile output(const SealedFile& file, const std::string& key, const std::string& bucket = "box") {
    return {.name = file.name,
            .bucket = bucket,
            .key = key,
            .source_path = file.source_path,
            .placed = file.placed,
            .private_path = file.private_path,
            .version = file.version,
            .sha256 = file.sha256};
  }

  UvEventLoop loop_;
  BlockingPool pool_{loop_, {.threads = 6, .queued_max = 64}};
  Log log_{{.level = LogLevel::error, .format = LogFormat::text, .fd = 2}};
  Metrics metrics_;
  std::unique_ptr<Stores> stores_;
};

// For INSTANTIATE_TEST_SUITE_P.
inline std::string kind_name(const testing::TestParamInfo<StoreKind>& info) {
  return info.param.name;
}

// The suites, each over the same fixture.
class ObjectStoreContract : public StoreTest {};
class ObjectListingContract : public StoreTest {};
class OutputStoreContract : public StoreTest {};
class PlacingContract : public StoreTest {};

}  // namespace millrace::test
