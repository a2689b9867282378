// The suites on the local store, on a disk and in memory: the two differ in attributes, syncs and directory order.
#include <spawn.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>

#include "storage/fs/fs_store.h"
#include "tests/contract/storage/store_fixture.h"

namespace millrace::test {
namespace {

class FsStores final : public Stores {
 public:
  FsStores(std::string root, std::unique_ptr<FsStore> store) : root_(std::move(root)), store_(std::move(store)) {}
  ~FsStores() override {
    store_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  ObjectStore& objects() override { return store_->objects(); }
  OutputStore& outputs() override { return store_->outputs(); }

 private:
  std::string root_;
  std::unique_ptr<FsStore> store_;
};

std::unique_ptr<Stores> make_below(const std::string& parent, EventLoop& loop, BlockingPool& pool, Log& log,
                                   Metrics& metrics, std::string& why) {
  std::string root = parent + "/millrace-store-XXXXXX";
  if (mkdtemp(root.data()) == nullptr) {
    why = parent + " cannot be written to";
    return nullptr;
  }
  if (setxattr(root.c_str(), "user.millrace.probe", "", 0, 0) != 0) {
    std::filesystem::remove_all(root);
    why = parent + " keeps no user attributes";
    return nullptr;
  }
  auto store = FsStore::open(loop, pool, log, metrics, {.root = root, .places = {}});
  if (!store) {
    why = store.error().message;
    return nullptr;
  }
  return std::make_unique<FsStores>(root, std::move(*store));
}

std::unique_ptr<Stores> make_on_disk(EventLoop& loop, BlockingPool& pool, Log& log, Metrics& metrics,
                                     std::string& why) {
  return make_below(std::filesystem::temp_directory_path().string(), loop, pool, log, metrics, why);
}

std::unique_ptr<Stores> make_in_memory(EventLoop& loop, BlockingPool& pool, Log& log, Metrics& metrics,
                                       std::string& why) {
  return make_below("/dev/shm", loop, pool, log, metrics, why);
}

// A mount of bindfs, for as long as the program runs: a shared folder as far as one machine can have it. It lacks what
// NFS lacks: the flags of rename, files without a name, reflinks.
class Bindfs {
 public:
  Bindfs() {
    const std::string parent = std::filesystem::temp_directory_path().string() + "/millrace-bindfs-XXXXXX";
    root_ = parent;
    if (mkdtemp(root_.data()) == nullptr) return;
    const std::string behind = root_ + "/behind";
    const std::string mount = root_ + "/mount";
    std::filesystem::create_directories(behind);
    std::filesystem::create_directories(mount);
    std::array<std::string, 4> words{"bindfs", "-f", behind, mount};
    std::array<char*, 5> argv{words[0].data(), words[1].data(), words[2].data(), words[3].data(), nullptr};
    if (posix_spawnp(&pid_, "bindfs", nullptr, nullptr, argv.data(), environ) != 0) pid_ = 0;
    for (int i = 0; pid_ > 0 && i < kLooks && !mounted_; ++i) {
      struct statfs facts{};
      mounted_ = statfs(mount.c_str(), &facts) == 0 && facts.f_type == kFuseMagic;
      if (!mounted_) std::this_thread::sleep_for(std::chrono::milliseconds(10));
      if (waitpid(pid_, nullptr, WNOHANG) == pid_) pid_ = 0;
    }
  }
  ~Bindfs() {
    if (mounted_) umount2((root_ + "/mount").c_str(), MNT_DETACH);
    if (pid_ > 0) {
      kill(pid_, SIGTERM);
      waitpid(pid_, nullptr, 0);
    }
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  Bindfs(const Bindfs&) = delete;
  Bindfs& operator=(const Bindfs&) = delete;

  [[nodiscard]] bool mounted() const { return mounted_; }
  [[nodiscard]] std::string path() const { return root_ + "/mount"; }

 private:
  static constexpr int kLooks = 1'000;
  static constexpr long kFuseMagic = 0x65735546;
  std::string root_;
  pid_t pid_ = 0;
  bool mounted_ = false;
};

std::unique_ptr<Stores> make_shared(EventLoop& loop, BlockingPool& pool, Log& log, Metrics& metrics, std::string& why) {
  static const Bindfs kBindfs;
  if (!kBindfs.mounted()) {
    why = "bindfs cannot be mounted here (the package bindfs, /dev/fuse and root are needed)";
    return nullptr;
  }
  return make_below(kBindfs.path(), loop, pool, log, metrics, why);
}

const auto kKinds = testing::Values(StoreKind{.name = "fs_on_disk", .make = make_on_disk},
                                    StoreKind{.name = "fs_in_memory", .make = make_in_memory},
                                    StoreKind{.name = "fs_shared", .make = make_shared});

}  // namespace

INSTANTIATE_TEST_SUITE_P(Stores, ObjectStoreContract, kKinds, kind_name);
INSTANTIATE_TEST_SUITE_P(Stores, ObjectListingContract, kKinds, kind_name);
INSTANTIATE_TEST_SUITE_P(Stores, OutputStoreContract, kKinds, kind_name);
INSTANTIATE_TEST_SUITE_P(Stores, PlacingContract, kKinds, kind_name);

}  // namespace millrace::test
