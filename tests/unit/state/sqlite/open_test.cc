#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "state/sqlite/lock_file.h"
#include "state/sqlite/schema.h"
#include "tests/unit/state/sqlite/fixture.h"

namespace millrace::test {
namespace {

using testing::HasSubstr;

class SqliteOpen : public SqliteTest {
 protected:
  void expect_refused(const Opened& opened, Errc code, const std::string& words) {
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, code) << opened.error().message;
    EXPECT_THAT(opened.error().message, HasSubstr(words));
    EXPECT_THAT(opened.error().message, HasSubstr(directory_.path()));
  }

  static std::string content(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
};

TEST_F(SqliteOpen, KeepsWhatWasWrittenAndLeavesOneFile) {
  auto opened = open();
  ASSERT_TRUE(opened) << opened.error().message;
  ASSERT_TRUE(run((*opened)->runs().commit(record("r1"))));
  close(opened);
  EXPECT_EQ(std::filesystem::file_size(path_ + "-wal"), 0U) << "a closed store can be copied as one file";
  EXPECT_TRUE(std::filesystem::exists(path_ + "-shm")) << "on a full disk it could not be made";
  opened = open();
  ASSERT_TRUE(opened);
  const auto found = run((*opened)->runs().get(RunId("r1")));
  ASSERT_TRUE(found);
  EXPECT_TRUE(*found);
  close(opened);
}

TEST_F(SqliteOpen, OnlyItsUserMayReadTheFile) {
  auto opened = open();
  ASSERT_TRUE(opened);
  struct stat found{};
  ASSERT_EQ(::stat(path_.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600U);
  ASSERT_EQ(::stat((path_ + "-wal").c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600U);
  close(opened);
}

TEST_F(SqliteOpen, SyncsEveryCommit) {
  auto database = sqlite::Database::open(path_);
  ASSERT_TRUE(database);
  ASSERT_TRUE(sqlite::prepare_for_writing(**database, 1 << 30));
  for (const auto& [pragma, value] :
       std::map<std::string, std::string>{{"synchronous", "2"}, {"journal_mode", "wal"}}) {
    sqlite::Query query = (*database)->query("PRAGMA " + pragma);
    const auto row = query.next();
    ASSERT_TRUE(row && *row);
    EXPECT_EQ(query.text(0), value) << pragma;
  }
}

TEST_F(SqliteOpen, RefusesANewerSchemaAndLeavesItAlone) {
  auto opened = open();
  close(opened);
  execute(path_, "PRAGMA user_version = 7");
  const std::string before = content(path_);
  opened = open();
  expect_refused(opened, Errc::failed_precondition, "schema 7");
  EXPECT_THAT(opened.error().message, HasSubstr("knows up to " + std::to_string(sqlite::kSchemaVersion)));
  EXPECT_EQ(content(path_), before);
}

TEST_F(SqliteOpen, RefusesAnotherProgramsDatabaseAndLeavesItAlone) {
  execute(path_, "CREATE TABLE theirs (a)");
  const std::string before = content(path_);
  expect_refused(open(), Errc::failed_precondition, "another program");
  EXPECT_EQ(content(path_), before);
}

TEST_F(SqliteOpen, NamesAFileThatIsNoDatabase) {
  std::ofstream(path_) << std::string(10'000, 'x');
  expect_refused(open(), Errc::data_loss, "state.db");
}

TEST_F(SqliteOpen, NamesACorruptFile) {
  auto opened = open();
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(run((*opened)->runs().commit(record("r" + std::to_string(i)))));
  close(opened);
  {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    const auto size = std::filesystem::file_size(path_);
    ASSERT_GT(size, 8192U);
    file.seekp(4096);  // the first page holds the schema, which is found wanting only when it is read
    const std::string noise(size - 4096, '\x5a');
    file.write(noise.data(), static_cast<std::streamsize>(noise.size()));
  }
  opened = open();
  if (opened) {
    const auto found = run((*opened)->runs().get(RunId("r7")));
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().code, Errc::data_loss) << found.error().message;
    EXPECT_THAT(found.error().message, HasSubstr(path_));
    const auto written = run((*opened)->runs().commit(record("new")));
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().code, Errc::data_loss);
    close(opened);
  } else {
    expect_refused(opened, Errc::data_loss, "state.db");
  }
}

TEST_F(SqliteOpen, NamesAMissingDirectory) {
  expect_refused(open(SqliteOptions{.path = directory_ / "missing/state.db"}), Errc::not_found, "data directory");
}

TEST_F(SqliteOpen, NamesADirectoryItMayNotWrite) {
  ASSERT_EQ(::chmod(directory_.path().c_str(), 0555), 0);
  // Root may write everywhere: be somebody else for a moment.
  const uid_t user = ::geteuid();
  if (user == 0) ASSERT_EQ(::seteuid(65534), 0);
  const auto opened = open();
  if (user == 0) ASSERT_EQ(::seteuid(0), 0);
  expect_refused(opened, Errc::permission_denied, "must be writable");
}

TEST_F(SqliteOpen, RefusesADatabaseThatAnotherProcessHas) {
  int ready[2];  // NOLINT: pipe's own shape
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  const pid_t owner = ::fork();
  if (owner == 0) {
    auto lock = sqlite::lock_database(path_);
    const char answer = lock ? '1' : '0';
    (void)::write(ready[1], &answer, 1);
    for (;;) ::pause();
  }
  char answer = 0;
  ASSERT_EQ(::read(ready[0], &answer, 1), 1);
  ASSERT_EQ(answer, '1');
  expect_refused(open(), Errc::failed_precondition, "pid " + std::to_string(owner));

  ::kill(owner, SIGKILL);
  ::waitpid(owner, nullptr, 0);
  auto opened = open();
  EXPECT_TRUE(opened) << "the lock of a dead process is gone with it: " << opened.error().message;
  if (opened) close(opened);
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(SqliteOpen, GivesTheLockBackWhenClosed) {
  auto opened = open();
  ASSERT_TRUE(opened);
  expect_refused(open(), Errc::failed_precondition, "in use");
  close(opened);
  opened = open();
  ASSERT_TRUE(opened);
  close(opened);
}

}  // namespace
}  // namespace millrace::test
