// A bucket of its own for tests of what lies on disk: in memory where the host lets us, since crashes are tried by the
// hundred and no test here asks what a power cut leaves.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "core/fd.h"
#include "storage/fs/attempt.h"
#include "storage/fs/beneath.h"
#include "storage/fs/buckets.h"
#include "storage/fs/placing.h"
#include "storage/fs/sealing.h"

namespace millrace::test {

class Disk {
 public:
  Disk() {
    root_ = make("/dev/shm");
    if (root_.empty()) root_ = make(std::filesystem::temp_directory_path().string());
    reopen();
    EXPECT_TRUE(buckets_->ensure("box"));
  }
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;
  ~Disk() {
    buckets_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }

  // As a new process would.
  void reopen() {
    buckets_.reset();
    auto opened = fs::Buckets::open(root_, {});
    ASSERT_TRUE(opened) << opened.error().message;
    buckets_ = *opened;
  }

  [[nodiscard]] const std::string& root() const { return root_; }
  [[nodiscard]] std::string path(const std::string& key) const { return root_ + "/box/" + key; }
  [[nodiscard]] fs::Buckets& buckets() { return *buckets_; }
  [[nodiscard]] fs::BucketPtr box() { return *buckets_->find("box"); }
  [[nodiscard]] fs::Workspace& workspace() { return **box()->workspace(); }

  [[nodiscard]] std::string content(const std::string& key) const {
    const Fd file(open(path(key).c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return "<none>";
    std::string text(std::filesystem::file_size(path(key)), '\0');
    const auto got = read(file.get(), text.data(), text.size());
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return text;
  }
  void write(const std::string& key, const std::string& content) const {
    std::filesystem::create_directories(std::filesystem::path(path(key)).parent_path());
    std::ofstream(path(key), std::ios::binary) << content;
  }

  [[nodiscard]] std::size_t temporary_files() const {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(path(".millrace/tmp"))) {
      if (!entry.path().string().ends_with(".lock")) ++count;
    }
    return count;
  }

  static AttemptPlace attempt(char run) {
    return {.bucket = "box", .run_id = RunId(std::string(32, run)), .token = AttemptToken(std::string(32, run))};
  }
  static OutputRank rank(char run) {
    return {.order = Order(std::string(26, run)),
            .generation = 0,
            .event_id = EventId(std::string(32, run)),
            .run_id = RunId(std::string(32, run))};
  }

  // The run `run`, whose letter says how late it is, left one file "f" with its letter in it.
  SealedFile seal(char run) {
    const auto directory = fs::make_attempt_directory(*box(), attempt(run));
    EXPECT_TRUE(directory) << directory.error().message;
    write(fs::attempt_path(attempt(run)) + "/f", std::string(1, run));
    auto sealed = fs::seal_attempt(*box(), attempt(run), {.bytes_max = 1 << 20, .files_max = 10}, rank(run));
    EXPECT_TRUE(sealed) << sealed.error().message;
    return sealed ? sealed->files.at(0) : SealedFile{};
  }

  Result<Placed> place(char run, const SealedFile& file, const std::string& key) {
    const auto bucket = box();
    const auto workspace = bucket->workspace();
    if (!workspace) return fail(workspace.error());
    const Fd folder = fs::open_attempt(*bucket, attempt(run));
    return fs::place_file(**workspace, bucket->directory(),
                          {.folder = folder.get(),
                           .name = fs::copy_prefix(attempt(run).token) + "0",
                           .device = bucket->device(),
                           .inode = static_cast<ino_t>(file.placed.inode),
                           .original = "f"},
                          key, rank(run));
  }

  // What was made of the run's result in order to be placed.
  std::string copy(char run) {
    return fs::attempt_path(attempt(run)) + "/" + fs::copy_prefix(attempt(run).token) + "0";
  }

 private:
  static std::string make(const std::string& parent) {
    std::string path = parent + "/millrace-disk-XXXXXX";
    if (mkdtemp(path.data()) == nullptr) return {};
    if (setxattr(path.c_str(), "user.millrace.probe", "", 0, 0) == 0) return path;
    std::filesystem::remove_all(path);
    return {};
  }

  std::string root_;
  std::shared_ptr<fs::Buckets> buckets_;
};

}  // namespace millrace::test
