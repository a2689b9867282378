// The suites on the local store, on a disk and in memory: the two differ in attributes, syncs and directory order.
#include <sys/xattr.h>

#include <filesystem>

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

const auto kKinds = testing::Values(StoreKind{.name = "fs_on_disk", .make = make_on_disk},
                                    StoreKind{.name = "fs_in_memory", .make = make_in_memory});

}  // namespace

INSTANTIATE_TEST_SUITE_P(Stores, ObjectStoreContract, kKinds, kind_name);
INSTANTIATE_TEST_SUITE_P(Stores, ObjectListingContract, kKinds, kind_name);
INSTANTIATE_TEST_SUITE_P(Stores, OutputStoreContract, kKinds, kind_name);
INSTANTIATE_TEST_SUITE_P(Stores, PlacingContract, kKinds, kind_name);

}  // namespace millrace::test
