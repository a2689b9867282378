// A root file system in a directory, for tests: busybox and a few files, made in milliseconds.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "core/fd.h"
#include "tests/integration/launcher/launcher_rig.h"

namespace millrace::launcher {

// Skips the test, with a reason that is counted, where there is nothing to make an image of.
#define MILLRACE_NEEDS_BUSYBOX()               \
  if (::access("/usr/bin/busybox", X_OK) != 0) \
  GTEST_SKIP() << "the package busybox-static is not installed: scripts/install_packages test"

// A root file system of one static program, as small as one can be.
class TestImage {
 public:
  TestImage() {
    std::string name = "/var/tmp/millrace-images-XXXXXX";
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    place_ = name;
    EXPECT_EQ(::chmod(place_.c_str(), 0755), 0);
    for (const char* directory : {"bin", "etc", "root", "data", "tmp", "proc", "dev"}) {
      std::filesystem::create_directories(path() + "/" + directory);
    }
    std::filesystem::copy_file("/usr/bin/busybox", path() + "/bin/busybox");
    for (const char* tool : {"sh", "cat", "ls", "id", "chown", "stat", "touch", "mkdir", "rm", "dd", "readlink", "wc",
                             "grep", "sleep", "su", "echo", "mount", "sed", "cut"}) {
      std::filesystem::create_symlink("busybox", path() + "/bin/" + tool);
    }
    write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000::/:/bin/sh\n");
    write("etc/secret-of-root", "only for root\n");
    ::chmod((path() + "/etc/secret-of-root").c_str(), 0600);
    ::chmod((path() + "/root").c_str(), 0700);
    ::chmod((path() + "/tmp").c_str(), 01777);
    if (LauncherRig::usual() == LauncherRig::As::user) give_away();
  }
  ~TestImage() {
    std::error_code ignored;
    std::filesystem::remove_all(place_, ignored);
  }
  TestImage(const TestImage&) = delete;
  TestImage& operator=(const TestImage&) = delete;

  [[nodiscard]] const std::string& place() const { return place_; }
  [[nodiscard]] std::string path() const { return place_ + "/root"; }
  [[nodiscard]] Fd open() const { return Fd(::open(path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)); }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path() + "/" + name, std::ios::binary) << text;
  }
  // Replaces what is there by a link.
  void link(const std::string& name, const std::string& target) const {
    std::filesystem::remove_all(path() + "/" + name);
    std::filesystem::create_symlink(target, path() + "/" + name);
  }

 private:
  // Without root an image belongs to whoever starts it.
  void give_away() const {
    EXPECT_EQ(::chown(path().c_str(), kDaemonUid, kDaemonUid), 0);
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path())) {
      EXPECT_EQ(::lchown(entry.path().c_str(), kDaemonUid, kDaemonUid), 0);
    }
  }

  std::string place_;
};

}  // namespace millrace::launcher
