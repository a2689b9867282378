#include "state/postgres/postgres_state.h"

#include <algorithm>
#include <utility>

#include "async/blocking_pool.h"
#include "async/sleep.h"
#include "core/backoff.h"
#include "state/postgres/dial.h"
#include "state/postgres/function_store.h"
#include "state/postgres/lane.h"
#include "state/postgres/link.h"
#include "state/postgres/listener.h"
#include "state/postgres/node_store.h"
#include "state/postgres/run_store.h"
#include "state/postgres/schema.h"
#include "state/postgres/seen_store.h"
#include "state/postgres/url.h"

namespace millrace {
namespace {

using postgres::Dialed;
using postgres::Dialing;
using postgres::Lane;
using postgres::Link;

std::vector<postgres::Statement> all_statements() {
  std::vector<postgres::Statement> all = postgres::run_store_statements();
  for (auto statements : {postgres::function_statements(), postgres::seen_statements(), postgres::node_statements()}) {
    for (auto& statement : statements) all.push_back(std::move(statement));
  }
  return all;
}

Link::Meters link_meters(Metrics& metrics, const std::string& side) {
  const Metrics::Labels labels{{"side", side}};
  return {.connected = metrics.gauge("millrace_state_connected", "1 while the state store's server is there", labels),
          .reconnects = metrics.counter("millrace_state_reconnects_total", "connections made anew", labels)};
}

Lane::Meters lane_meters(Metrics& metrics, const std::string& side) {
  const Metrics::Labels labels{{"side", side}};
  return {.waits = metrics.counter("millrace_state_queue_full_total", "state store calls that waited for room", labels),
          .jobs = metrics.counter("millrace_state_calls_total", "state store calls", labels),
          .transactions = metrics.counter("millrace_state_transactions_total", "state store transactions", labels),
          .repeats = metrics.counter("millrace_state_repeats_total",
                                     "state store calls sent again alone, since another spoiled their batch", labels),
          .duration = metrics.histogram("millrace_state_transaction_seconds", "time of one transaction", labels)};
}

Lane::Options write_options(const PostgresOptions& options) {
  Lane::Options lane;
  lane.in_transactions = true;
  lane.batch_max = std::max<std::size_t>(1, options.batch_writes_max);
  lane.room = std::max<std::size_t>(1, options.writes_queued_bytes_max / Lane::kUnitBytes);
  lane.patience = options.patience;
  return lane;
}

Lane::Options read_options(const PostgresOptions& options) {
  Lane::Options lane;
  lane.in_flight_max = std::max<std::size_t>(1, options.reads_in_flight_max);
  lane.room = std::max<std::size_t>(1, options.reads_queued_max);
  lane.patience = options.patience;
  return lane;
}

class PostgresState final : public StateStore {
 public:
  PostgresState(const PostgresOptions& options, const Dialing& dialing, EventLoop& loop, Log& log, Metrics& metrics)
      : dialler_(std::make_unique<BlockingPool>(loop, BlockingPool::Options{.threads = 3, .queued_max = 3})),
        writer_(loop, make_link(dialing, "write", options, loop, log, metrics), write_options(options),
                lane_meters(metrics, "write")),
        reader_(loop, make_link(dialing, "read", options, loop, log, metrics), read_options(options),
                lane_meters(metrics, "read")),
        listener_(loop, *dialler_, dialing.address, log, metrics),
        functions_(writer_, reader_),
        runs_(loop, writer_, reader_),
        seen_(writer_, reader_),
        nodes_(writer_, reader_, listener_) {}

  void start(Dialed write, Dialed read) {
    id_ = std::move(write.store_id);
    writer_.start(std::move(write.connection));
    reader_.start(std::move(read.connection));
  }

  [[nodiscard]] const std::string& id() const override { return id_; }
  FunctionStore& functions() override { return functions_; }
  RunStore& runs() override { return runs_; }
  SeenStore& seen() override { return seen_; }
  SharedState* shared() override { return &nodes_; }

  Task<void> close() override {
    co_await listener_.close();
    co_await reader_.close();
    co_await writer_.close();
  }

 private:
  std::unique_ptr<Link> make_link(const Dialing& dialing, const char* side, const PostgresOptions& options,
                                  EventLoop& loop, Log& log, Metrics& metrics) {
    Link::Options link;
    link.side = side;
    link.answer_max = options.answer_max;
    return std::make_unique<Link>(loop, *dialler_, dialing, link, log, link_meters(metrics, side));
  }

  std::string id_;
  std::unique_ptr<BlockingPool> dialler_;
  Lane writer_;
  Lane reader_;
  postgres::Listener listener_;
  postgres::PostgresFunctionStore functions_;
  postgres::PostgresRunStore runs_;
  postgres::PostgresSeenStore seen_;
  postgres::PostgresNodeStore nodes_;
};

// A server may come up later than we do.
Task<Result<Dialed>> dial_patiently(Dialing dialing, std::chrono::milliseconds start_wait, EventLoop& loop, Log& log) {
  constexpr std::chrono::milliseconds kPauseBase{100};
  constexpr std::chrono::milliseconds kPauseCap{2'000};
  BlockingPool pool(loop, {.threads = 1, .queued_max = 1});
  Backoff backoff;
  const auto until = loop.now() + start_wait;
  for (std::uint32_t failures = 1;; ++failures) {
    auto dialed = co_await pool.run([dialing] { return dial(dialing); });
    if (dialed || dialed.error().code != Errc::unavailable || loop.now() >= until) co_return std::move(dialed);
    if (failures == 1) log.warn("waiting for the state store's server", {{"error", dialed.error()}});
    co_await sleep_for(loop, backoff.delay(kPauseBase, kPauseCap, failures));
  }
}

}  // namespace

bool is_postgres_url(const std::string& url) {
  return postgres::is_postgres_url(url);
}

Result<std::string> check_postgres(const std::string& url) {
  const auto address = postgres::parse_url(url);
  if (!address) return fail(address.error());
  const auto facts = postgres::look(*address);
  if (!facts) return fail(facts.error());
  if (!facts->weakness.empty()) {
    return fail(Errc::failed_precondition, address->name + " may lose what it confirmed: " + facts->weakness);
  }
  return "PostgreSQL " + std::to_string(facts->version / 10'000) + "." + std::to_string(facts->version % 10'000) +
         (facts->replicated ? ", replicated, at " : ", synced, at ") + address->name;
}

Task<Result<std::unique_ptr<StateStore>>> open_postgres_state(PostgresOptions options, EventLoop& loop, Log& log,
                                                              Metrics& metrics) {
  auto address = postgres::parse_url(options.url);
  if (!address) co_return fail(address.error());
  const Dialing dialing{.address = std::move(*address),
                        .statements = all_statements(),
                        .allow_weak_durability = options.allow_weak_durability};
  auto write = co_await dial_patiently(dialing, options.start_wait, loop, log);
  if (!write) co_return fail(write.error());
  auto read = co_await dial_patiently(dialing, options.start_wait, loop, log);
  if (!read) co_return fail(read.error());
  const auto& facts = write->facts;
  log.info("state store opened", {{"server", dialing.address.name},
                                  {"version", facts.version},
                                  {"schema", postgres::migrations().size()},
                                  {"durability", facts.replicated ? "replicated" : "synced"}});
  if (!facts.weakness.empty()) {
    log.warn("the state store's server may lose what it confirmed", {{"why", facts.weakness}});
  }
  auto state = std::make_unique<PostgresState>(options, dialing, loop, log, metrics);
  state->start(std::move(*write), std::move(*read));
  co_return state;
}

}  // namespace millrace
