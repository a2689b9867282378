#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "tests/contract/storage/store_fixture.h"

namespace millrace::test {
namespace {

constexpr const char* kHelloSha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
constexpr const char* kEmptySha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

std::vector<std::string> names_of(const Sealed& sealed) {
  std::vector<std::string> names;
  for (const auto& file : sealed.files) names.push_back(file.name);
  return names;
}

mode_t mode_at(int directory, const char* name) {
  struct stat status{};
  EXPECT_EQ(fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW), 0) << name;
  return status.st_mode & 07777;
}

TEST_P(OutputStoreContract, MakesAnAttemptsDirectoryOnce) {
  const auto directory = wait(outputs().make_attempt(attempt()));
  ASSERT_TRUE(directory) << directory.error().message;
  struct stat status{};
  ASSERT_EQ(fstat(directory->fd.get(), &status), 0);
  EXPECT_TRUE(S_ISDIR(status.st_mode));
  EXPECT_EQ(status.st_mode & 07777, 0700U);
  struct stat by_path{};
  ASSERT_EQ(stat(directory->host_path.c_str(), &by_path), 0);
  EXPECT_EQ(by_path.st_ino, status.st_ino);
  EXPECT_GT(directory->free_bytes, 0U);
  EXPECT_EQ(wait(outputs().make_attempt(attempt())).error().code, Errc::already_exists);
  EXPECT_TRUE(wait(outputs().make_attempt(attempt(kRunA, '2'))));
}

TEST_P(OutputStoreContract, KeepsAttemptsWithoutABucketInItsRoot) {
  AttemptPlace place = attempt();
  place.bucket.clear();
  const auto directory = wait(outputs().make_attempt(place));
  ASSERT_TRUE(directory) << directory.error().message;
  write_file(directory->fd.get(), "a", "hello");
  const auto sealed = wait(outputs().seal(place, limits(), rank('A')));
  ASSERT_TRUE(sealed) << sealed.error().message;
  EXPECT_TRUE(sealed->files.at(0).private_path.starts_with(".millrace/"));
  EXPECT_EQ(content_of(private_copy(sealed->files[0])), "hello");
  EXPECT_EQ(wait(objects().buckets())->size(), 1U);
  EXPECT_TRUE(wait(outputs().remove_attempt(place)));
}

TEST_P(OutputStoreContract, FindsTheDirectoriesOfAttemptsByBucketRunAndToken) {
  AttemptPlace in_root = attempt(kRunB, '3');
  in_root.bucket.clear();
  const std::vector<AttemptPlace> all = {in_root, attempt(kRunA, '1'), attempt(kRunA, '2'), attempt(kRunB, '1')};
  EXPECT_TRUE(wait(outputs().attempts({}, 10))->empty());
  const auto start =
      std::chrono::system_clock::now() - std::chrono::seconds(1);  // the file system's clock ticks, and is behind
  for (const std::size_t next : {2U, 0U, 3U, 1U}) ASSERT_TRUE(wait(outputs().make_attempt(all.at(next))));
  const auto found = wait(outputs().attempts({}, 10));
  ASSERT_TRUE(found) << found.error().message;
  std::vector<AttemptPlace> places;
  for (const auto& one : *found) {
    places.push_back(one.place);
    EXPECT_GE(one.changed_at, start);
    EXPECT_LE(one.changed_at, std::chrono::system_clock::now());
  }
  EXPECT_EQ(places, all);

  AttemptPlace after;
  places.clear();
  for (std::size_t pages = 1; places.size() < all.size(); ++pages) {
    const auto page = wait(outputs().attempts(after, 1));
    ASSERT_FALSE(page->empty()) << "after " << pages << " pages";
    for (const auto& one : *page) places.push_back(one.place);
    after = places.back();
  }
  EXPECT_EQ(places, all);
  EXPECT_TRUE(wait(outputs().attempts(after, 1))->empty());
  ASSERT_TRUE(wait(outputs().remove_attempt(all[1])));
  EXPECT_EQ(wait(outputs().attempts({}, 10))->size(), 3U);
}

TEST_P(OutputStoreContract, RefusesIdsThatAreNoNames) {
  for (const auto& id : {std::string("../../../../etc"), std::string(), std::string("a/b"), std::string(".."),
                         std::string("abc"), std::string(65, 'a')}) {
    AttemptPlace place = attempt();
    place.token = AttemptToken(id);
    EXPECT_EQ(wait(outputs().make_attempt(place)).error().code, Errc::invalid_argument) << id;
    EXPECT_EQ(wait(outputs().remove_attempt(place)).error().code, Errc::invalid_argument) << id;
    place = attempt();
    place.run_id = RunId(id);
    EXPECT_EQ(wait(outputs().make_attempt(place)).error().code, Errc::invalid_argument) << id;
    EXPECT_EQ(wait(outputs().seal(place, limits(), rank('A'))).error().code, Errc::invalid_argument) << id;
  }
  AttemptPlace nowhere = attempt();
  nowhere.bucket = "nowhere";
  EXPECT_EQ(wait(outputs().make_attempt(nowhere)).error().code, Errc::not_found);
}

TEST_P(OutputStoreContract, SealsEveryRegularFileSortedByName) {
  const auto directory = wait(outputs().make_attempt(attempt()));
  ASSERT_TRUE(directory);
  const int fd = directory->fd.get();
  ASSERT_EQ(mkdirat(fd, "sub", 0755), 0);
  ASSERT_EQ(mkdirat(fd, "empty folder", 0755), 0);
  const std::vector<std::string> names = {"-rf", "a b", "empty", "hello", "new\nline", "sub/\xc3\xa9", "\xff"};
  for (const auto& name : names) write_file(fd, name, name == "empty" ? "" : "hello");

  const auto sealed = wait(outputs().seal(attempt(), limits(), rank('A')));
  ASSERT_TRUE(sealed) << sealed.error().message;
  EXPECT_EQ(names_of(*sealed), names);
  EXPECT_TRUE(sealed->refused.empty());
  for (const auto& file : sealed->files) {
    const bool is_empty = file.name == "empty";
    EXPECT_EQ(file.sha256, is_empty ? kEmptySha256 : kHelloSha256) << file.name;
    EXPECT_EQ(file.placed.size_bytes, is_empty ? 0U : 5U);
    EXPECT_EQ(file.version.size_bytes, is_empty ? 0U : 5U);
    EXPECT_EQ(content_of(private_copy(file)), is_empty ? "" : "hello");
  }
}

TEST_P(OutputStoreContract, SealsAnAttemptThatLeftNothing) {
  ASSERT_TRUE(wait(outputs().make_attempt(attempt())));
  const auto sealed = wait(outputs().seal(attempt(), limits(), rank('A')));
  ASSERT_TRUE(sealed) << sealed.error().message;
  EXPECT_TRUE(sealed->files.empty());
  EXPECT_EQ(wait(outputs().seal(attempt(kRunA, '2'), limits(), rank('A'))).error().code, Errc::not_found);
}

TEST_P(OutputStoreContract, MakesPrivateCopiesThatOutliveTheirSource) {
  for (const std::size_t size : {std::size_t{5}, std::size_t{1} << 20, (std::size_t{1} << 20) + 1}) {
    const AttemptPlace place = attempt(kRunA, static_cast<char>('0' + size % 7));
    const auto file = sealed_file(place, rank('A'), "big", std::string(size, 'x'));
    {
      const auto opened = wait(objects().open(private_copy(file)));
      ASSERT_TRUE(opened) << opened.error().message;
      EXPECT_EQ(opened->version, file.version);
      EXPECT_EQ(opened->version.size_bytes, size);
    }
    ASSERT_TRUE(this->place(output(file, "big"), rank('A')));
    ASSERT_TRUE(wait(objects().remove("box", "big")));
    EXPECT_EQ(content_of(private_copy(file)), std::string(std::min<std::size_t>(size, 4096), 'x'));
    ASSERT_TRUE(wait(outputs().remove_attempt(place)));
    EXPECT_EQ(content_of(private_copy(file)), "<not_found>");
  }
}

TEST_P(OutputStoreContract, RemovesWhatIsStillOpenAtOnceOrWhenItIsClosed) {
  const auto file = sealed_file(attempt(), rank('A'), "read", "hello");
  {
    const auto opened = wait(objects().open(private_copy(file)));
    ASSERT_TRUE(opened) << opened.error().message;
    const auto removed = wait(outputs().remove_attempt(attempt()));
    if (!removed) EXPECT_EQ(removed.error().code, Errc::unavailable) << removed.error().message;
  }
  EXPECT_TRUE(wait(outputs().remove_attempt(attempt())));
  EXPECT_EQ(content_of(private_copy(file)), "<not_found>");
}

TEST_P(OutputStoreContract, TakesAwaySetuidSetgidAndSticky) {
  const auto directory = wait(outputs().make_attempt(attempt()));
  ASSERT_TRUE(directory);
  const int fd = directory->fd.get();
  write_file(fd, "suid", "x", 06755);
  write_file(fd, "sticky", "x", 01640);
  write_file(fd, "closed", "x", 0);
  write_file(fd, "readonly", "x", 0444);
  const auto sealed = wait(outputs().seal(attempt(), limits(), rank('A')));
  ASSERT_TRUE(sealed) << sealed.error().message;
  ASSERT_EQ(sealed->files.size(), 4U);
  for (const auto& file : sealed->files) ASSERT_TRUE(place(output(file, file.name), rank('A')));

  const auto mode_of_object = [&](const std::string& key) {
    const auto opened = wait(objects().open({.bucket = "box", .key = key, .version = {}, .private_path = {}}));
    struct stat status{};
    EXPECT_TRUE(opened && fstat(opened->fd.get(), &status) == 0) << key;
    return status.st_mode & 07777;
  };
  EXPECT_EQ(mode_of_object("suid"), 0755U);
  EXPECT_EQ(mode_of_object("sticky"), 0640U);
  EXPECT_EQ(mode_of_object("readonly"), 0444U);
  EXPECT_EQ(mode_of_object("closed") & 0400U, 0400U) << "readable for us at least";
}

TEST_P(OutputStoreContract, RefusesWhatIsNoRegularFile) {
  ASSERT_TRUE(put("secret", "not yours"));
  const auto directory = wait(outputs().make_attempt(attempt()));
  ASSERT_TRUE(directory);
  const int fd = directory->fd.get();
  ASSERT_EQ(symlinkat("../../../../secret", fd, "link"), 0);
  ASSERT_EQ(symlinkat("/etc", fd, "link to folder"), 0);
  ASSERT_EQ(symlinkat("loop", fd, "loop"), 0);
  ASSERT_EQ(mkfifoat(fd, "fifo", 0644), 0);
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  const std::string socket_path = "/proc/self/fd/" + std::to_string(fd) + "/socket";
  ASSERT_LT(socket_path.size(), sizeof address.sun_path);
  socket_path.copy(address.sun_path, socket_path.size());
  const Fd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(mkdirat(fd, ".millrace", 0755), 0);
  write_file(fd, ".millrace/forged", "x");
  write_file(fd, "good", "hello");

  const auto sealed = wait(outputs().seal(attempt(), limits(), rank('A')));
  ASSERT_TRUE(sealed) << sealed.error().message;
  EXPECT_EQ(names_of(*sealed), std::vector<std::string>{"good"});
  EXPECT_EQ(sealed->refused.size(), 6U);
  for (const auto* part : {"'link' is a symbolic link", "'fifo' is a fifo", "'socket' is a socket", "'.millrace'"}) {
    EXPECT_TRUE(std::ranges::any_of(sealed->refused, [&](const auto& text) { return text.contains(part); })) << part;
  }
  EXPECT_EQ(content_of("secret"), "not yours");
}

TEST_P(OutputStoreContract, RefusesDevices) {
  const auto directory = wait(outputs().make_attempt(attempt()));
  ASSERT_TRUE(directory);
  if (mknodat(directory->fd.get(), "null", S_IFCHR | 0666, makedev(1, 3)) != 0) {
    GTEST_SKIP() << "making a device needs root";
  }
  const auto sealed = wait(outputs().seal(attempt(), limits(), rank('A')));
  ASSERT_TRUE(sealed) << sealed.error().message;
  EXPECT_TRUE(sealed->files.empty());
  EXPECT_EQ(sealed->refused, std::vector<std::string>{"'null' is a device"});
}

TEST_P(OutputStoreContract, RefusesNamesThatAreTooDeepOrTooLong) {
  const auto directory = wait(outputs().make_attempt(attempt()));
  ASSERT_TRUE(directory);
  std::string path;
  for (int depth = 1; depth <= 33; ++depth) {
    path += (depth == 1 ? "" : "/") + std::string("d");
    ASSERT_EQ(mkdirat(directory->fd.get(), path.c_str(), 0755), 0);
    if (depth == 31) write_file(directory->fd.get(), path + "/just", "x");  // the 32nd part
    if (depth == 32) write_file(directory->fd.get(), path + "/over", "x");
  }
  // Deeper than a path can say: made and left step by step, as a function would.
  int fd = dup(directory->fd.get());
  for (int i = 0; i < 6; ++i) {
    const std::string name(250, 'n');
    ASSERT_EQ(mkdirat(fd, name.c_str(), 0755), 0);
    const int next = openat(fd, name.c_str(), O_RDONLY | O_DIRECTORY);
    close(fd);
    fd = next;
  }
  close(fd);

  const auto sealed = wait(outputs().seal(attempt(), limits(), rank('A')));
  ASSERT_TRUE(sealed) << sealed.error().message;
  ASSERT_EQ(sealed->files.size(), 1U);
  EXPECT_TRUE(sealed->files[0].name.ends_with("/just"));
  ASSERT_EQ(sealed->refused.size(), 2U);
  EXPECT_TRUE(std::ranges::any_of(sealed->refused, [](const auto& text) { return text.contains("deeper than 32"); }));
  EXPECT_TRUE(std::ranges::any_of(sealed->refused, [](const auto& text) { return text.contains("1024 bytes"); }));
}

TEST_P(OutputStoreContract, NamesAtMostAHundredRefusals) {
  const auto directory = wait(outputs().make_attempt(attempt()));
  ASSERT_TRUE(directory);
  for (int i = 0; i < 150; ++i) ASSERT_EQ(symlinkat("x", directory->fd.get(), std::to_string(i).c_str()), 0);
  const auto sealed = wait(outputs().seal(attempt(), limits(), rank('A')));
  ASSERT_TRUE(sealed);
  ASSERT_EQ(sealed->refused.size(), 101U);
  EXPECT_EQ(sealed->refused.back(), "and 50 more");
}

TEST_P(OutputStoreContract, TakesHardLinksAsFiles) {
  const auto directory = wait(outputs().make_attempt(attempt()));
  ASSERT_TRUE(directory);
  const int fd = directory->fd.get();
  write_file(fd, "a", std::string((1 << 20) + 5, 'a'));
  ASSERT_EQ(linkat(fd, "a", fd, "b", 0), 0);
  const auto sealed = wait(outputs().seal(attempt(), limits(), rank('A')));
  ASSERT_TRUE(sealed) << sealed.error().message;
  ASSERT_EQ(sealed->files.size(), 2U);
  EXPECT_EQ(sealed->files[0].sha256, sealed->files[1].sha256);
  for (const auto& file : sealed->files) {
    EXPECT_EQ(*place(output(file, file.name), rank('A')), Placed::appeared) << file.name;
  }
}

TEST_P(OutputStoreContract, HoldsItsLimitsToTheByteAndTheFile) {
  const auto directory = wait(outputs().make_attempt(attempt()));
  ASSERT_TRUE(directory);
  const int fd = directory->fd.get();
  ASSERT_EQ(mkdirat(fd, "folder", 0755), 0);
  write_file(fd, "folder/a", std::string(8192, 'a'));
  write_file(fd, "b", std::string(8192, 'b'));
  const auto seal = [&](std::uint64_t bytes, std::uint32_t files) {
    return wait(outputs().seal(attempt(), {.bytes_max = bytes, .files_max = files}, rank('A')));
  };
  const auto over_bytes = seal(16383, 3);
  ASSERT_FALSE(over_bytes);
  EXPECT_EQ(over_bytes.error().code, Errc::too_large);
  EXPECT_NE(over_bytes.error().message.find("output_bytes"), std::string::npos);
  const auto over_files = seal(16384, 2);
  ASSERT_FALSE(over_files);
  EXPECT_EQ(over_files.error().code, Errc::too_large);
  EXPECT_NE(over_files.error().message.find("output_files"), std::string::npos);
  EXPECT_TRUE(seal(16384, 3));
}

TEST_P(OutputStoreContract, MeasuresWhatIsThere) {
  const auto directory = wait(outputs().make_attempt(attempt()));
  ASSERT_TRUE(directory);
  const int fd = directory->fd.get();
  const auto measured = [&] {
    return wait(outputs().measure(attempt(), {.bytes_max = 1ULL << 40, .files_max = 1000}));
  };
  EXPECT_EQ(measured()->bytes, 0U);
  ASSERT_EQ(mkdirat(fd, "folder", 0755), 0);
  write_file(fd, "folder/a", std::string(8192, 'a'));
  ASSERT_EQ(symlinkat("/etc", fd, "etc"), 0);
  EXPECT_EQ(measured()->bytes, 8192U);
  EXPECT_EQ(measured()->files, 3U);

  // A hole is no space yet, but will be the user's file; reserved space has no length.
  write_file(fd, "sparse", "");
  ASSERT_EQ(truncate((directory->host_path + "/sparse").c_str(), 5LL << 30), 0);
  EXPECT_EQ(measured()->bytes, 8192U + (5ULL << 30));
  write_file(fd, "sparse", "");
  const int reserved = openat(fd, "sparse", O_WRONLY);
  if (fallocate(reserved, FALLOC_FL_KEEP_SIZE, 0, 1 << 20) == 0) EXPECT_GE(measured()->bytes, 8192U + (1U << 20));
  close(reserved);

  for (int i = 0; i < 50; ++i) write_file(fd, "f" + std::to_string(i), "x");
  const auto stopped = wait(outputs().measure(attempt(), {.bytes_max = 1 << 30, .files_max = 10}));
  ASSERT_TRUE(stopped);
  EXPECT_EQ(stopped->files, 11U) << "no need to count on";
  EXPECT_EQ(wait(outputs().measure(attempt(kRunA, '9'), limits())).error().code, Errc::not_found);
}

TEST_P(OutputStoreContract, MarksWhatItSealsOverAnyMarkOfTheFunction) {
  const auto directory = wait(outputs().make_attempt(attempt()));
  ASSERT_TRUE(directory);
  write_file(directory->fd.get(), "a", "hello");
  const int file = openat(directory->fd.get(), "a", O_RDWR);
  ASSERT_EQ(fsetxattr(file, "user.millrace.mark", "1 ZZZ 9 e forged", 16, 0), 0);
  ASSERT_EQ(fsetxattr(file, "user.millrace.other", "x", 1, 0), 0);
  ASSERT_EQ(fsetxattr(file, "user.own", "kept", 4, 0), 0);
  const auto sealed = wait(outputs().seal(attempt(), limits(), rank('A')));
  ASSERT_TRUE(sealed);
  close(file);
  ASSERT_TRUE(place(output(sealed->files[0], "a"), rank('A')));
  const auto opened = wait(objects().open({.bucket = "box", .key = "a", .version = {}, .private_path = {}}));
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_LT(fgetxattr(opened->fd.get(), "user.millrace.other", nullptr, 0), 0);
  EXPECT_EQ(fgetxattr(opened->fd.get(), "user.own", nullptr, 0), 4);
  const auto mark = wait(outputs().mark_of(there("a")));
  ASSERT_TRUE(mark) << mark.error().message;
  ASSERT_TRUE(*mark);
  EXPECT_EQ((*mark)->run_id.str(), kRunA);
}

TEST_P(OutputStoreContract, TellsMarksOnlyWhereThereAreAny) {
  ASSERT_TRUE(put("folder/users", "x"));
  const auto none = wait(outputs().mark_of(there("folder/users")));
  ASSERT_TRUE(none);
  EXPECT_FALSE(*none);
  const auto error = [&](const std::string& key) {
    return wait(outputs().mark_of({.bucket = "box", .key = key, .version = {}, .private_path = {}})).error().code;
  };
  EXPECT_EQ(error("nothing"), Errc::not_found);
  EXPECT_EQ(error("folder/users/below"), Errc::not_found);
  EXPECT_EQ(error("../x"), Errc::invalid_argument);
}

TEST_P(OutputStoreContract, TellsNoMarkOfAnotherVersion) {
  ASSERT_TRUE(put("a", "x"));
  const ObjectRef users = there("a");
  const auto sealed = sealed_file(attempt(), rank('A'), "a", "result");
  ASSERT_TRUE(place(output(sealed, "a"), rank('A')));
  EXPECT_EQ(wait(outputs().mark_of(users)).error().code, Errc::not_found);
  EXPECT_TRUE(wait(outputs().mark_of(there("a")))->has_value());
}

TEST_P(OutputStoreContract, SealsTwiceWithTheSameResult) {
  const auto directory = wait(outputs().make_attempt(attempt()));
  ASSERT_TRUE(directory);
  write_file(directory->fd.get(), "small", "hello", 04755);
  write_file(directory->fd.get(), "large", std::string(3 << 20, 'l'));
  const auto first = wait(outputs().seal(attempt(), limits(), rank('A')));
  const auto second = wait(outputs().seal(attempt(), limits(), rank('A')));
  ASSERT_TRUE(first && second);
  ASSERT_EQ(first->files.size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(first->files[i].name, second->files[i].name);
    EXPECT_EQ(first->files[i].placed.size_bytes, second->files[i].placed.size_bytes);
    EXPECT_EQ(first->files[i].version, second->files[i].version);
    EXPECT_EQ(first->files[i].private_path, second->files[i].private_path);
    EXPECT_EQ(first->files[i].sha256, second->files[i].sha256);
  }
  EXPECT_EQ(mode_at(directory->fd.get(), "small"), 0755U);
  EXPECT_EQ(content_of(private_copy(second->files[0])), std::string(4096, 'l'));
  EXPECT_EQ(content_of(private_copy(second->files[1])), "hello");
  ASSERT_TRUE(place(output(second->files[1], "placed"), rank('A')));
  EXPECT_EQ(content_of("placed"), "hello");
}

TEST_P(OutputStoreContract, RemovesAHostileTreeAndNothingBeside) {
  ASSERT_TRUE(put("precious", "kept"));
  const auto directory = wait(outputs().make_attempt(attempt()));
  ASSERT_TRUE(directory);
  const int top = directory->fd.get();
  ASSERT_EQ(symlinkat("../../../..", top, "up"), 0);
  ASSERT_EQ(mkdirat(top, "closed", 0755), 0);
  write_file(top, "closed/a", "x");
  ASSERT_EQ(fchmodat(top, "closed", 0, 0), 0);
  int fd = dup(top);
  for (int depth = 0; depth < 300; ++depth) {
    ASSERT_EQ(mkdirat(fd, "d", 0755), 0);
    write_file(fd, "f", "x");
    const int next = openat(fd, "d", O_RDONLY | O_DIRECTORY);
    ASSERT_GE(next, 0);
    close(fd);
    fd = next;
  }
  close(fd);
  for (int i = 0; i < 300; ++i) write_file(top, "many" + std::to_string(i), "");

  const auto removed = wait(outputs().remove_attempt(attempt()));
  ASSERT_TRUE(removed) << removed.error().message;
  EXPECT_NE(access(directory->host_path.c_str(), F_OK), 0);
  EXPECT_EQ(content_of("precious"), "kept");
  EXPECT_TRUE(wait(outputs().remove_attempt(attempt()))) << "a second time";
}

TEST_P(OutputStoreContract, RemovesOneAttemptAndLeavesTheOthers) {
  const auto one = sealed_file(attempt(kRunA, '1'), rank('A'), "a", "one");
  const auto two = sealed_file(attempt(kRunA, '2'), rank('A'), "a", "two");
  ASSERT_TRUE(wait(outputs().remove_attempt(attempt(kRunA, '1'))));
  EXPECT_EQ(content_of(private_copy(one)), "<not_found>");
  EXPECT_EQ(content_of(private_copy(two)), "two");
}

}  // namespace
}  // namespace millrace::test
