#include "state/memory/memory_state.h"
#include "state/sqlite/sqlite_state.h"
#include "tests/contract/state/backends.h"
#include "tests/support/temp_dir.h"

namespace millrace::test {
namespace {

class MemoryPlace final : public Place {
 public:
  Task<Result<std::unique_ptr<StateStore>>> open(EventLoop& loop, Log& /*log*/, Metrics& /*metrics*/) override {
    co_return make_memory_state(loop);
  }
};

class SqlitePlace final : public Place {
 public:
  Task<Result<std::unique_ptr<StateStore>>> open(EventLoop& loop, Log& log, Metrics& metrics) override {
    return open_sqlite_state({.path = where()}, loop, log, metrics);
  }
  [[nodiscard]] std::string where() const override { return directory_ / "state.db"; }

 private:
  TempDir directory_;
};

}  // namespace

std::vector<Backend> backends() {
  return {Backend::memory, Backend::sqlite};
}

std::vector<Backend> durable_backends() {
  return {Backend::sqlite};
}

std::unique_ptr<Place> make_place(Backend backend) {
  if (backend == Backend::memory) return std::make_unique<MemoryPlace>();
  return std::make_unique<SqlitePlace>();
}

}  // namespace millrace::test
