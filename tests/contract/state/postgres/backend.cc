#include "tests/contract/state/postgres/backend.h"

#include "state/postgres/postgres_state.h"
#include "tests/contract/state/backends.h"

namespace millrace::test {
namespace {

// A database of its own.
class PostgresPlace final : public Place {
 public:
  Task<Result<std::unique_ptr<StateStore>>> open(EventLoop& loop, Log& log, Metrics& metrics) override {
    return open_postgres_state({.url = url_}, loop, log, metrics);
  }
  [[nodiscard]] std::string where() const override { return url_; }

 private:
  const std::string url_ = postgres_server().url(postgres_server().make_database());
};

}  // namespace

PostgresServer& postgres_server() {
  static PostgresServer server;
  return server;
}

std::vector<Backend> backends() {
  return {Backend::postgres};
}

std::vector<Backend> durable_backends() {
  return backends();
}

std::unique_ptr<Place> make_place(Backend /*backend*/) {
  return std::make_unique<PostgresPlace>();
}

}  // namespace millrace::test
