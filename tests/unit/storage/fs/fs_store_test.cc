#include "storage/fs/fs_store.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>

#include "async/uv_event_loop.h"
#include "tests/support/run_task.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/storage/fs/disk.h"

namespace millrace {
namespace {

using test::Disk;
using test::run_task;

class FsStoreTest : public testing::Test {
 protected:
  std::unique_ptr<FsStore> open() {
    auto store = FsStore::open(loop_, pool_, log_, metrics_, {.root = root_.path(), .places = {}});
    EXPECT_TRUE(store) << store.error().message;
    return store ? std::move(*store) : nullptr;
  }
  static ObjectRef object(const std::string& key) {
    return {.bucket = "box", .key = key, .version = {}, .private_path = {}};
  }

  test::TempDir root_;
  UvEventLoop loop_;
  BlockingPool pool_{loop_, {.threads = 1, .queued_max = 8}};
  Log log_{{.level = LogLevel::error, .format = LogFormat::text, .fd = 2}};
  Metrics metrics_;
};

TEST_F(FsStoreTest, ShowsUsersOwnFilesAndNothingElse) {
  std::filesystem::create_directories(root_ / "box/folder");
  std::ofstream(root_ / "box/folder/mine.txt") << "typed by hand";
  std::filesystem::create_symlink("/etc/passwd", root_ / "box/link");
  std::filesystem::create_directory_symlink("/etc", root_ / "box/etc");
  ASSERT_EQ(mkfifo((root_ / "box/fifo").c_str(), 0644), 0);
  const auto store = open();
  ASSERT_TRUE(store);
  auto& objects = store->objects();

  const auto listed = run_task(loop_, objects.list("box", "", "", 100));
  ASSERT_TRUE(listed);
  ASSERT_EQ(listed->objects.size(), 1U);
  EXPECT_EQ(listed->objects[0].key, "folder/mine.txt");
  const auto opened = run_task(loop_, objects.open(object("folder/mine.txt")));
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->host_path, root_ / "box/folder/mine.txt");
  for (const auto* key : {"link", "etc/passwd", "fifo"}) {
    EXPECT_EQ(run_task(loop_, objects.open(object(key))).error().code, Errc::failed_precondition) << key;
    EXPECT_EQ(run_task(loop_, objects.stat("box", key)).error().code, Errc::failed_precondition) << key;
    EXPECT_EQ(run_task(loop_, objects.remove("box", key)).error().code, Errc::failed_precondition) << key;
  }
  EXPECT_FALSE(std::filesystem::exists(root_ / "box/.millrace")) << "reading needs nothing of ours";
}

TEST_F(FsStoreTest, KnowsWhichBucketsCannotTakeOutputsTogether) {
  std::string elsewhere = "/dev/shm/millrace-bucket-XXXXXX";
  ASSERT_NE(mkdtemp(elsewhere.data()), nullptr);
  auto store = FsStore::open(loop_, pool_, log_, metrics_, {.root = root_.path(), .places = {{"far", elsewhere}}});
  ASSERT_TRUE(store) << store.error().message;
  auto& objects = (*store)->objects();
  std::filesystem::create_directories(root_ / "near");
  const auto check = [&](const std::string& a, const std::string& b) {
    return run_task(loop_, objects.check_buckets({.inputs = {"far"}, .outputs = {a, b}}));
  };
  EXPECT_TRUE(check("near", "missing"));
  EXPECT_TRUE(check("far", "far"));
  for (const auto& [a, b] : {std::pair("near", "far"), std::pair("far", "missing")}) {
    const auto refused = check(a, b);
    ASSERT_FALSE(refused) << a << " " << b;
    EXPECT_EQ(refused.error().code, Errc::failed_precondition);
    EXPECT_NE(refused.error().message.find(elsewhere), std::string::npos) << refused.error().message;
  }
  store->reset();
  std::filesystem::remove_all(elsewhere);
}

TEST_F(FsStoreTest, FindsWhichBucketsCannotBeMadeOrWrittenAndMakesNone) {
  std::ofstream(root_ / "file") << "x";
  std::filesystem::create_directory_symlink("/etc", root_ / "link");
  std::filesystem::create_directories(root_ / "strange");
  std::ofstream(root_ / "strange/.millrace") << "x";
  auto store = FsStore::open(loop_, pool_, log_, metrics_,
                             {.root = root_.path(), .places = {{"far", root_ / "a/b/c"}, {"below", root_ / "file/x"}}});
  ASSERT_TRUE(store) << store.error().message;
  auto& objects = (*store)->objects();
  EXPECT_TRUE(run_task(loop_, objects.check_buckets({.inputs = {"new", "far"}, .outputs = {"other", "far"}})));
  for (const auto* made : {"new", "other", "a"}) EXPECT_FALSE(std::filesystem::exists(root_ / made)) << made;

  for (const std::string name : {"file", "link", "strange", "below", "Bad"}) {
    for (const auto& wanted : {FunctionBuckets{.inputs = {"new", name}, .outputs = {}},
                               FunctionBuckets{.inputs = {}, .outputs = {"new", name}}}) {
      const auto refused = run_task(loop_, objects.check_buckets(wanted));
      ASSERT_FALSE(refused) << name;
      EXPECT_NE(refused.error().message.find(name), std::string::npos) << refused.error().message;
      EXPECT_FALSE(run_task(loop_, objects.ensure_bucket(name))) << name;
    }
  }
}

TEST_F(FsStoreTest, TakesAFileOf5GiBThatIsMostlyHole) {
  std::filesystem::create_directories(root_ / "box");
  std::ofstream(root_ / "box/huge") << "";
  ASSERT_EQ(truncate((root_ / "box/huge").c_str(), 5LL << 30), 0);
  const auto store = open();
  auto& objects = store->objects();
  EXPECT_EQ(run_task(loop_, objects.stat("box", "huge"))->version.size_bytes, 5ULL << 30);
  EXPECT_EQ(run_task(loop_, objects.list("box", "", "", 1))->objects.at(0).version.size_bytes, 5ULL << 30);
  const auto opened = run_task(loop_, objects.open(object("huge")));
  ASSERT_TRUE(opened);
  char byte = 'x';
  EXPECT_EQ(pread(opened->fd.get(), &byte, 1, (5LL << 30) - 1), 1);
  EXPECT_EQ(byte, '\0');
}

TEST_F(FsStoreTest, RemovesWhatADeadProcessLeftAndNothingOfTheLiving) {
  const auto store = open();
  ASSERT_TRUE(run_task(loop_, store->objects().ensure_bucket("box")));
  auto living = run_task(loop_, store->objects().start_put("box", "living"));
  ASSERT_TRUE(living);
  ASSERT_TRUE((*living)->write("at work"));

  const pid_t pid = fork();
  if (pid == 0) {
    auto buckets = fs::Buckets::open(root_.path(), {});
    auto* workspace = *(*(*buckets)->find("box"))->workspace();
    const int fd = openat(workspace->tmp(), workspace->temporary_name().c_str(), O_WRONLY | O_CREAT, 0600);
    _exit(fd >= 0 && write(fd, "lost", 4) == 4 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  ASSERT_EQ(status, 0);
  const auto files = [&] {
    return std::distance(std::filesystem::directory_iterator(root_ / "box/.millrace/tmp"),
                         std::filesystem::directory_iterator());
  };
  EXPECT_EQ(files(), 4) << "two locks, two files";

  const auto second = open();
  EXPECT_EQ(files(), 3) << "the dead one's are gone; ours, and the second store's lock";
  EXPECT_EQ(metrics_.counter("millrace_storage_swept_total", "").value(), 1U);
  EXPECT_TRUE(run_task(loop_, (*living)->commit()));
}

TEST_F(FsStoreTest, UnlinksADroppedUpload) {
  const auto store = open();
  ASSERT_TRUE(run_task(loop_, store->objects().ensure_bucket("box")));
  auto upload = run_task(loop_, store->objects().start_put("box", "dropped"));
  ASSERT_TRUE(upload && (*upload)->write("x"));
  upload->reset();
  // The pool has one thread: what is asked now comes after the unlinking.
  ASSERT_TRUE(run_task(loop_, store->objects().list("box", "", "", 1)));
  for (const auto& entry : std::filesystem::directory_iterator(root_ / "box/.millrace/tmp")) {
    EXPECT_EQ(entry.path().extension(), ".lock");
  }
  EXPECT_EQ(metrics_.counter("millrace_storage_dropped_uploads_total", "").value(), 1U);
}

TEST_F(FsStoreTest, KeepsABrokenUploadBroken) {
  const auto store = open();
  ASSERT_TRUE(run_task(loop_, store->objects().ensure_bucket("box")));
  auto upload = run_task(loop_, store->objects().start_put("box", "a"));
  ASSERT_TRUE(upload);
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const rlimit small{.rlim_cur = 10, .rlim_max = old.rlim_max};
  signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto written = (*upload)->write(std::string(100, 'x'));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, Errc::too_large);
  EXPECT_NE(written.error().message.find("bucket 'box'"), std::string::npos);
  EXPECT_FALSE((*upload)->write("more"));
  EXPECT_FALSE(run_task(loop_, (*upload)->commit()));
  EXPECT_EQ(run_task(loop_, store->objects().stat("box", "a")).error().code, Errc::not_found);
}

TEST_F(FsStoreTest, TellsTheFreeSpaceOfABucket) {
  const auto store = open();
  ASSERT_TRUE(run_task(loop_, store->objects().ensure_bucket("box")));
  struct statvfs status{};
  ASSERT_EQ(statvfs(root_.path().c_str(), &status), 0);
  const auto free = store->free_bytes("box");
  ASSERT_TRUE(free) << free.error().message;
  EXPECT_GT(*free, 0U);
  EXPECT_LE(*free, std::uint64_t{status.f_blocks} * status.f_frsize);
  EXPECT_TRUE(store->free_bytes(""));
  EXPECT_EQ(store->free_bytes("nowhere").error().code, Errc::not_found);
}

TEST_F(FsStoreTest, SaysWhetherPlacingIsWeak) {
  const auto store = open();
  ASSERT_TRUE(run_task(loop_, store->objects().ensure_bucket("box")));
  EXPECT_FALSE(store->weak_placing("box").value());
  EXPECT_EQ(store->weak_placing("nowhere").error().code, Errc::not_found);
}

TEST_F(FsStoreTest, OpensInSpiteOfABucketThatCannotBeCleanedUp) {
  std::filesystem::create_directories(root_ / "bad");
  std::ofstream(root_ / "bad/.millrace") << "a file";
  std::filesystem::create_directories(root_ / "good");
  const auto store = open();
  ASSERT_TRUE(store);
  const auto upload = run_task(loop_, store->objects().start_put("bad", "a"));
  ASSERT_FALSE(upload);
  EXPECT_EQ(upload.error().code, Errc::failed_precondition);
  EXPECT_TRUE(run_task(loop_, store->objects().start_put("good", "a")));
}

TEST_F(FsStoreTest, ABucketThatCannotBeReadKeepsNoOthersAttemptsBack) {
  for (const char* bucket : {"bad", "good"}) std::filesystem::create_directories(root_ / bucket);
  const auto store = open();
  ASSERT_TRUE(store);
  const AttemptPlace place{
      .bucket = "good", .run_id = RunId(std::string(32, 'a')), .token = AttemptToken(std::string(32, '1'))};
  ASSERT_TRUE(run_task(loop_, store->outputs().make_attempt(place)));
  std::filesystem::remove_all(root_ / "bad/.millrace");
  std::ofstream(root_ / "bad/.millrace") << "no folder";
  const auto found = run_task(loop_, store->outputs().attempts({}, 10));
  ASSERT_TRUE(found) << found.error().message;
  ASSERT_EQ(found->size(), 1U);
  EXPECT_EQ(found->front().place, place);
  EXPECT_FALSE(run_task(loop_, store->outputs().attempts(place, 10))) << "it is told of at last";
  EXPECT_TRUE(std::filesystem::remove(root_ / "bad/.millrace"));
  EXPECT_TRUE(run_task(loop_, store->outputs().attempts(place, 10))->empty());
}

TEST_F(FsStoreTest, NamesTheBucketThatLiesOnAnotherFileSystem) {
  Disk memory;
  struct stat here{};
  struct stat there{};
  ASSERT_EQ(stat(root_.path().c_str(), &here), 0);
  ASSERT_EQ(stat(memory.root().c_str(), &there), 0);
  if (here.st_dev == there.st_dev) GTEST_SKIP() << "no second file system to write to";
  auto store =
      FsStore::open(loop_, pool_, log_, metrics_, {.root = root_.path(), .places = {{"far", memory.root() + "/far"}}});
  ASSERT_TRUE(store);
  ASSERT_TRUE(run_task(loop_, (*store)->objects().ensure_bucket("near")));
  ASSERT_TRUE(run_task(loop_, (*store)->objects().ensure_bucket("far")));
  auto& outputs = (*store)->outputs();
  AttemptPlace place = Disk::attempt('a');
  place.bucket = "near";
  const auto directory = run_task(loop_, outputs.make_attempt(place));
  ASSERT_TRUE(directory);
  std::ofstream(directory->host_path + "/f") << "x";
  const auto sealed = run_task(loop_, outputs.seal(place, {.bytes_max = 100'000, .files_max = 1}, Disk::rank('a')));
  ASSERT_TRUE(sealed) << sealed.error().message;
  const auto& file = sealed->files.at(0);
  const auto placed = run_task(loop_, outputs.place({{.name = "f",
                                                      .bucket = "far",
                                                      .key = "f",
                                                      .source_path = file.source_path,
                                                      .placed = file.placed,
                                                      .private_path = file.private_path,
                                                      .version = file.version,
                                                      .sha256 = file.sha256}},
                                                    Disk::rank('a')));
  ASSERT_FALSE(placed);
  EXPECT_EQ(placed.error().code, Errc::failed_precondition);
  EXPECT_NE(placed.error().message.find("bucket 'far'"), std::string::npos) << placed.error().message;
}

}  // namespace
}  // namespace millrace
