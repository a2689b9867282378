#include "runtime/process/scratch.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "core/fd.h"
#include "tests/support/temp_dir.h"

namespace millrace::process {
namespace {

namespace fs = std::filesystem;

std::string read(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(RemoveTree, RemovesEverythingBelow) {
  const test::TempDir directory;
  fs::create_directories(directory / "tree/a/b/c");
  std::ofstream(directory / "tree/a/file") << "x";
  std::ofstream(directory / "tree/a/b/file") << "x";
  ASSERT_TRUE(remove_tree(directory / "tree"));
  EXPECT_FALSE(fs::exists(directory / "tree"));
}

TEST(RemoveTree, IsContentWithNothing) {
  const test::TempDir directory;
  EXPECT_TRUE(remove_tree(directory / "nothing"));
}

TEST(RemoveTree, FollowsNoLink) {
  const test::TempDir directory;
  fs::create_directories(directory / "tree");
  fs::create_directories(directory / "outside");
  std::ofstream(directory / "outside/file") << "precious";
  ASSERT_EQ(::symlink((directory / "outside").c_str(), (directory / "tree/link").c_str()), 0);
  ASSERT_TRUE(remove_tree(directory / "tree"));
  EXPECT_EQ(read(directory / "outside/file"), "precious");
  ASSERT_EQ(::symlink((directory / "outside").c_str(), (directory / "top").c_str()), 0);
  EXPECT_FALSE(remove_tree(directory / "top"));
  EXPECT_EQ(read(directory / "outside/file"), "precious");
}

TEST(RemoveTree, RemovesWhatIsNestedDeeperThanThereAreDescriptors) {
  const test::TempDir directory;
  constexpr int kDepth = 400;
  std::string path = directory / "tree";
  for (int i = 0; i < kDepth; ++i) path += "/d";
  fs::create_directories(path);
  std::ofstream(path + "/file") << "x";
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit few{.rlim_cur = 128, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  const auto removed = remove_tree(directory / "tree");
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(removed) << removed.error().message;
  EXPECT_FALSE(fs::exists(directory / "tree"));
}

TEST(RemoveTree, OpensWhatWasLocked) {
  const test::TempDir directory;
  fs::create_directories(directory / "tree/a/b");
  std::ofstream(directory / "tree/a/b/file") << "x";
  ASSERT_EQ(::chmod((directory / "tree/a/b").c_str(), 0), 0);
  ASSERT_EQ(::chmod((directory / "tree/a").c_str(), 0500), 0);
  if (::geteuid() == 0) {
    // Root is stopped by no mode: be somebody else for a moment.
    for (const auto* path : {"tree/a/b/file", "tree/a/b", "tree/a", "tree", "."}) {
      ASSERT_EQ(::lchown((directory / path).c_str(), 61502, 61502), 0);
    }
    ASSERT_EQ(::seteuid(61502), 0);
  }
  const auto removed = remove_tree(directory / "tree");
  ASSERT_EQ(::seteuid(::getuid()), 0);
  ASSERT_TRUE(removed) << removed.error().message;
  EXPECT_FALSE(fs::exists(directory / "tree"));
}

TEST(RemoveTree, RemovesMoreNamesThanOneReadingHolds) {
  const test::TempDir directory;
  fs::create_directories(directory / "tree");
  const std::string long_name(200, 'x');
  for (int i = 0; i < 400; ++i) std::ofstream(directory / ("tree/" + long_name + std::to_string(i)));
  ASSERT_TRUE(remove_tree(directory / "tree"));
  EXPECT_FALSE(fs::exists(directory / "tree"));
}

TEST(WriteScript, MakesACompleteScriptThatOnlyWeCanRun) {
  const test::TempDir directory;
  ASSERT_TRUE(write_script(directory / "f", "#!/bin/sh\n"));
  ASSERT_TRUE(write_script(directory / "f", "#!/bin/sh\nexit 1\n"));
  EXPECT_EQ(read(directory / "f/script.sh"), "#!/bin/sh\nexit 1\n");
  struct stat status{};
  ASSERT_EQ(::stat((directory / "f/script.sh").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0500U);
  EXPECT_EQ(std::distance(fs::directory_iterator(directory / "f"), fs::directory_iterator()), 1);
}

TEST(WriteScript, NamesWhatItCannotMake) {
  const auto written = write_script("/nonexistent/f", "x");
  ASSERT_FALSE(written);
  EXPECT_NE(written.error().message.find("'/nonexistent/f'"), std::string::npos);
}

TEST(MakeScratch, LinksAndCopiesInputs) {
  const test::TempDir directory;
  std::ofstream(directory / "stored") << "linked";
  const Fd file(::memfd_create("input", MFD_CLOEXEC));
  ASSERT_EQ(::write(file.get(), "copied", 6), 6);
  ASSERT_TRUE(make_scratch(directory / "run", {{.name = "a b", .host_path = directory / "stored", .fd = -1},
                                               {.name = "-c", .host_path = "", .fd = file.get()}}));
  EXPECT_EQ(read(directory / "run/in/a b"), "linked");
  EXPECT_EQ(read(directory / "run/in/-c"), "copied");
  EXPECT_TRUE(fs::is_directory(directory / "run/out"));
  EXPECT_FALSE(make_scratch(directory / "run", {}));  // a name is used once
}

TEST(MakeScratch, RefusesWhatIsNoName) {
  const test::TempDir directory;
  int round = 0;
  for (const auto& name : std::vector<std::string>{"", ".", "..", "../up", "a/b", std::string("a\0b", 3)}) {
    const auto made = make_scratch(directory / std::to_string(++round), {{.name = name, .host_path = "/x", .fd = -1}});
    ASSERT_FALSE(made) << name;
    EXPECT_EQ(made.error().code, Errc::invalid_argument);
  }
}

TEST(MakeScratch, RefusesTwoInputsOfOneName) {
  const test::TempDir directory;
  const auto made = make_scratch(
      directory / "run", {{.name = "a", .host_path = "/x", .fd = -1}, {.name = "a", .host_path = "/y", .fd = -1}});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Errc::already_exists);
}

}  // namespace
}  // namespace millrace::process
