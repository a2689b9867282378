#include "app/daemon.h"

#include <malloc.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "app/data_directory.h"
#include "app/host_facts.h"
#include "app/life_line.h"
#include "app/life_line_messages.h"
#include "app/listen_address.h"
#include "app/node_options.h"
#include "app/part_options.h"
#include "app/supervisor.h"
#include "app/version.h"
#include "app/wiring.h"
#include "async/blocking_pool.h"
#include "async/sleep.h"
#include "async/task_group.h"
#include "async/uv_event_loop.h"
#include "consumers/delivery_handler.h"
#include "consumers/worker_pool.h"
#include "engine/admission.h"
#include "engine/awaited_runs.h"
#include "engine/circuits.h"
#include "engine/finish.h"
#include "engine/guarded_store.h"
#include "engine/health.h"
#include "engine/ingest.h"
#include "engine/invoker.h"
#include "engine/live_logs.h"
#include "engine/nodes.h"
#include "engine/queue_levels.h"
#include "engine/queued_recall.h"
#include "engine/registry.h"
#include "engine/replay.h"
#include "engine/retention.h"
#include "engine/run_feed.h"
#include "engine/run_meter.h"
#include "engine/run_stats.h"
#include "engine/run_table.h"
#include "engine/stage_in.h"
#include "engine/sweeper.h"
#include "engine/synchronous.h"
#include "engine/topic_feed.h"
#include "engine/topic_outputs.h"
#include "gateway/auth.h"
#include "gateway/gateway.h"
#include "net/http_server.h"
#include "net/listener.h"
#include "producers/fs_watch.h"
#include "runtime/launched/host_check.h"
#include "telemetry/metrics.h"

namespace millrace {
namespace {

constexpr std::chrono::milliseconds kHttpGrace{2'000};
constexpr std::chrono::seconds kRefreshEvery{30};
constexpr std::chrono::seconds kRefreshRetry{1};
constexpr std::chrono::seconds kRoomRetry{1};  // on a full disk
constexpr std::size_t kBlockingThreads = 8;
constexpr int kHeapKept = 8 << 20;  // of each arena of malloc
constexpr int kHeapStep = 256 << 10;

// The engine and what hangs on it. Members in the order of need: each may use those above it.
struct Node {
  Node(const Config& config, std::string identity, EventLoop& loop, BlockingPool& pool, Backends& backends, Log& log,
       Metrics& metrics)
      : name(config.node.empty() ? host_name() : config.node),
        nodes(
            loop, backends.state->shared(), describe_node(config, std::move(identity), loop),
            [this](NodeRow& me) { tell_load(me); }, {.lease = config.node_lease}, log),
        runs(config.queued_runs_max),
        feed(loop, {}, metrics),
        stats(loop),
        meter(metrics),
        logs(loop),
        health(loop, pool, *backends.broker, *backends.state, health_options(config), log, metrics),
        circuits(loop, breakers(config), metrics, log),
        objects(backends.store->objects(), "local", circuits),
        outputs(backends.store->outputs(), "local", circuits),
        admission(loop, budget_of(config)),
        registry(loop, backends.state->functions(), *backends.broker, backends.store->objects(), backends.executors,
                 ulids, config.lease, log),
        ingest(loop, registry, *backends.broker, backends.state->seen(), runs, ulids),
        stage_in(objects, pool, config.data + "/scratch"),
        invoker(loop, backends.executors, stage_in, outputs, *backends.state, name, log, metrics),
        finish(outputs, *backends.state, ingest, registry),
        events(backends.store->objects(), pool, backends.state->runs(), registry.topics()),
        topic_feed(loop, *backends.broker, {}, metrics),
        levels(loop, *backends.broker, metrics),
        awaited(loop, *backends.state, ingest, nodes, log),
        calls(loop, registry, ingest, admission, invoker, finish, *backends.state, runs),
        replay(loop, registry, ingest, backends.store->objects(), backends.store->outputs(), *backends.state, runs,
               ulids),
        sweeper(
            loop, *backends.state, backends.store->outputs(), finish, runs, name,
            {.every = config.sweep_every, .age_min = 2 * config.lease, .alone = backends.state->shared() == nullptr},
            log),
        retention(
            loop, *backends.state, backends.store->outputs(), *backends.broker, runs,
            {.keep = config.runs_kept_for, .runs_max = config.runs_max, .is_ours = [this] { return nodes.is_first(); }},
            log, metrics),
        handler(loop, admission, invoker, finish, *backends.state, runs, {.hold = config.hold}, log),
        workers(loop, *backends.broker, admission, handler, log),
        watch(
            loop, pool,
            {.registry = registry,
             .ingest = ingest,
             .objects = backends.store->objects(),
             .outputs = backends.store->outputs(),
             .state = *backends.state,
             .checks = *backends.launcher,
             .placed = finish.placed_names()},
            backends.watch_source,
            [&backends](const std::string& bucket) { return backends.store->directory_of(bucket); },
            watch_options(config), metrics, log),
        gateway({.domain = loop,
                 .registry = registry,
                 .ingest = ingest,
                 .calls = calls,
                 .replay = replay,
                 .state = *backends.state,
                 .runs = runs,
                 .feed = feed,
                 .stats = stats,
                 .logs = logs,
                 .health = health,
                 .circuits = circuits,
                 .broker = *backends.broker,
                 .topic_rates = topic_rates,
                 .topic_feed = topic_feed,
                 .levels = levels,
                 .objects = backends.store->objects(),
                 .admission = admission,
                 .nodes = nodes,
                 .metrics = metrics,
                 .log = log,
                 .controls = [&backends] { return backends.container->controls(); },
                 .node = name,
                 .token = {},
                 .has_api = has_role(config, "gateway"),
                 .limits = {.event_bytes_max = config.event_bytes_max, .object_bytes_max = config.object_bytes_max}}) {
    runs.listen(feed);
    runs.listen(stats);
    runs.listen(meter);
    invoker.show_logs(logs);
    finish.publish_events_with(events);
    handler.report_to(circuits);
    workers.obey(circuits);
    runs.listen(awaited);
    sweeper.heed(nodes);
    registry.heed(nodes);
    invoker.on_left([this](AttemptPlace place) { sweeper.left(std::move(place)); });
    if (!has_role(config, "worker")) calls.call_elsewhere(awaited);
    if (has_role(config, "worker")) registry.observe(workers);
    if (has_role(config, "producer")) registry.observe_inputs(watch);
  }

  void tell_load(NodeRow& me) const {
    me.running = runs.active_count();
    me.memory_bytes = admission.budget().memory_bytes;
    me.memory_free_bytes = admission.free().memory_bytes;
    me.cpu_millicores = admission.budget().cpu_millicores;
    me.cpu_free_millicores = admission.free().cpu_millicores;
  }

  const std::string name;
  Nodes nodes;
  UlidMaker ulids;
  RunTable runs;
  RunFeed feed;
  RunStats stats;
  RunMeter meter;
  LiveLogs logs;
  Health health;
  Circuits circuits;
  GuardedObjects objects;  // for runs: what producers and clients meet is theirs to retry
  GuardedOutputs outputs;
  Admission admission;
  Registry registry;
  Ingest ingest;
  StageIn stage_in;
  Invoker invoker;
  Finish finish;
  TopicOutputs events;
  TopicRates topic_rates;
  TopicFeed topic_feed;
  QueueLevels levels;
  AwaitedRuns awaited;
  SynchronousCalls calls;
  Replay replay;
  Sweeper sweeper;
  Retention retention;
  DeliveryHandler handler;
  WorkerPool workers;
  FsWatch watch;
  Gateway gateway;
};

class Daemon {
 public:
  explicit Daemon(const Config& config)
      : config_(config),
        log_(log_options(config)),
        pool_(loop_, {.threads = kBlockingThreads}),
        background_(loop_),
        beats_(loop_),
        tasks_(loop_) {}

  int run() {
    tasks_.spawn(live());
    loop_.run();
    return status_;
  }

 private:
  // The whole life: open, serve until told to stop, drain, close.
  Task<void> live() {
    const auto served = co_await serve();
    if (!served) {
      log_.error("the daemon cannot start", {{"error", served.error()}});
      // What no restart can mend must not be restarted.
      status_ = retryable(served.error().code) ? 1 : kExitConfiguration;
    }
    loop_.stop();
  }

  Task<Result<void>> serve() {
    log_.info("starting",
              {{"version", kBuildVersion.version}, {"commit", kBuildVersion.commit}, {"data", config_.data}});
    auto backends = open_local_backends(config_, loop_, pool_, log_, metrics_);
    if (!backends) co_return fail(backends.error());
    backends_ = std::move(*backends);
    life_line_.emplace(loop_, log_, Fd(kDaemonLifeLine), *backends_->launcher, [this] { supervisor_is_gone(); });
    TaskGroup early(loop_);
    early.spawn(leave_on_signal(early.stop_token()));
    const auto opened = co_await open_when_there_is_room();
    early.request_stop();
    co_await early.join();
    if (!opened) co_return fail(opened.error());
    auto token = load_or_make_token(config_.data + "/admin-token");
    if (!token) co_return fail(token.error());

    auto identity = load_or_make_identity(config_.data);
    if (!identity) co_return fail(identity.error());

    node_ = std::make_unique<Node>(config_, std::move(*identity), loop_, pool_, *backends_, log_, metrics_);
    node_->gateway.set_token(std::move(*token));
    const auto ready = co_await bring_up();
    ready_ = ready.has_value();
    if (ready) co_await wait_for_stop();
    co_await shut_down();
    co_return ready;
  }

  // A restart would find the disk as full, and the supervisor gives up after some.
  Task<Result<void>> open_when_there_is_room() {
    for (bool told = false;; told = true) {
      auto opened = co_await open_durable_backends(*backends_, config_, loop_, log_, metrics_);
      if (opened || opened.error().code != Errc::no_space) co_return opened;
      if (!told) log_.error("no room to start: waiting for it", {{"error", opened.error()}});
      const auto slept = co_await sleep_for(loop_, kRoomRetry, stop_.get_token());
      if (!slept) co_return opened;
    }
  }

  Task<Result<void>> bring_up() {
    const auto started = loop_.wall_now();
    const auto hello = co_await backends_->launcher->wait_hello(stop_.get_token());
    if (!hello) co_return fail(hello.error().with("the launcher"));
    const auto isolated = has_role(config_, "worker") ? check_isolation(*hello) : Result<void>();
    if (!isolated) co_return fail(isolated.error());
    const auto joined = co_await node_->nodes.join();
    if (!joined) co_return fail(joined.error());
    beats_.spawn(node_->nodes.run(beats_.stop_token(), [this] { displaced(); }));
    co_await node_->sweeper.drop_own_attempts();
    // Before any event is taken: later ones rank behind what is on record, also where the clock was set back meanwhile.
    const auto newest = co_await backends_->state->runs().newest_order();
    if (!newest) co_return fail(newest.error().with("the newest order on record"));
    node_->ulids.start_after(newest->str());
    const auto loaded = co_await node_->registry.load();
    if (!loaded) co_return fail(loaded.error());
    co_await node_->sweeper.sweep_own_past(started);
    hear_others();
    background_.spawn(node_->registry.prepare_the_rest(stop_.get_token()));
    background_.spawn(recall_queued({.registry = node_->registry,
                                     .broker = *backends_->broker,
                                     .state = *backends_->state,
                                     .runs = node_->runs,
                                     .ulids = node_->ulids,
                                     .log = log_},
                                    config_.queued_runs_max, stop_.get_token()));
    background_.spawn(node_->sweeper.run(stop_.get_token()));
    background_.spawn(node_->retention.run(stop_.get_token()));

    co_await node_->health.look();  // before anybody can ask
    background_.spawn(node_->health.run(stop_.get_token()));
    const auto address = parse_listen(config_.listen, config_.insecure_listen);
    if (!address) co_return fail(address.error());
    HttpServerOptions options;
    options.address = address->host;
    options.port = address->port;
    options.io_threads = config_.io_threads != 0 ? config_.io_threads : host_cores();
    options.connections_max = config_.connections_max;
    auto server = HttpServer::start(std::move(options), node_->gateway, metrics_);
    if (!server) {
      // A taken port does not become free by restarting the daemon.
      Error error = server.error();
      error.code = Errc::failed_precondition;
      co_return fail(std::move(error));
    }
    server_ = std::move(*server);
    const std::string where = host_and_port(address->host, server_->port());
    const auto written = write_file(config_.data + "/listen", where + "\n");
    if (!written && written.error().code != Errc::no_space) co_return fail(written.error());
    if (!written) background_.spawn(write_address_later(where));
    node_->nodes.set_address(where);
    log_.info("ready", {{"listen", where}, {"node", node_->name}, {"roles", config_.roles}});
    co_return Result<void>{};
  }

  // A full disk keeps nobody from asking this server who knows its address. One of an earlier life would lead clients
  // elsewhere.
  Task<void> write_address_later(std::string where) {
    const std::string path = config_.data + "/listen";
    ::unlink(path.c_str());
    log_.warn("the address is not in the data directory yet: no room", {{"listen", where}});
    for (Result<void> written = fail(Errc::no_space, ""); !written;) {
      const auto slept = co_await sleep_for(loop_, kRoomRetry, stop_.get_token());
      if (!slept) co_return;
      written = write_file(path, where + "\n");
    }
    log_.info("the address is in the data directory", {{"listen", where}});
  }

  void displaced() {
    status_ = kExitConfiguration;
    stop_.request_stop();
  }

  // What other nodes tell. All of it may get lost, so everything is also looked at now and then.
  void hear_others() {
    SharedState* shared = backends_->state->shared();
    if (shared == nullptr) return;
    shared->on_notice([this](const Notice& notice) { heard(notice); });
    background_.spawn(look_again());
  }

  void heard(const Notice& notice) {
    switch (notice.kind) {
      case Notice::Kind::again: node_->awaited.look_at_all(); break;
      case Notice::Kind::functions: break;
      case Notice::Kind::run_ended: return node_->awaited.ended(notice.run_id);
      case Notice::Kind::cancel: return static_cast<void>(node_->runs.cancel(notice.run_id));
    }
    if (!std::exchange(refreshing_, true)) background_.spawn(refresh());
  }

  Task<void> refresh() {
    for (bool good = false; !good && !stop_.stop_requested();) {
      refreshing_ = false;  // what is told from here on is looked at once more
      const auto refreshed = co_await node_->registry.refresh();
      good = refreshed.has_value();
      if (good) continue;
      log_.warn("the functions of other nodes are not known", {{"error", refreshed.error()}});
      const auto slept = co_await sleep_for(loop_, kRefreshRetry, stop_.get_token());
      if (!slept) co_return;
    }
  }

  Task<void> look_again() {
    for (;;) {
      const auto slept = co_await sleep_for(loop_, kRefreshEvery, stop_.get_token());
      if (!slept) co_return;
      heard(Notice{});
    }
  }

  // While it starts, a daemon has nothing in hand that it would have to give back, and may wait for servers for long:
  // the next one on this data directory is not to meet it.
  void supervisor_is_gone() {
    stop_.request_stop();
    if (ready_) return;
    log_.info("the supervisor is gone: this start is given up");
    std::_Exit(1);
  }

  // A host that cannot keep strangers' programs apart is served only to those who know it.
  Result<void> check_isolation(const launcher::Hello& hello) {
    const std::string missing = launched::missing_isolation(hello);
    if (missing.empty()) return {};
    if (!config_.allow_missing_isolation) {
      const std::string remedy = hello.privileged ? "let root use them on this host" : "start the server as root";
      return fail(Errc::failed_precondition,
                  "functions cannot be isolated on this host: " + missing + "; " + remedy +
                      ", or say --allow-missing-isolation yes to run functions with executor: process, which isolates "
                      "nothing; `millrace check` shows what this host can do");
    }
    log_.warn("functions cannot be isolated: only executor: process is accepted", {{"missing", missing}});
    return {};
  }

  Task<void> wait_for_stop() {
    const Fd fd = told_to_stop();
    if (!fd) co_return;  // only without memory or descriptors: leave in order
    const auto waited = co_await wait_ready(loop_, fd.get(), EventLoop::Interest::readable, stop_.get_token());
    log_.info("stopping", {{"why", waited ? "signal" : "the supervisor is gone"}});
  }

  // As long as it waits for a broker or a database it has nothing in hand either; see supervisor_is_gone().
  Task<void> leave_on_signal(std::stop_token opened) {
    const Fd fd = told_to_stop();
    if (!fd) co_return;
    const auto waited = co_await wait_ready(loop_, fd.get(), EventLoop::Interest::readable, std::move(opened));
    if (!waited) co_return;
    log_.info("told to stop: this start is given up");
    std::_Exit(0);
  }

  // Readable once a signal came that says so; it stays readable for whoever asks next.
  static Fd told_to_stop() {
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
    return Fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  }

  // From the outside inwards: no new requests, no new deliveries, then what is held is given back.
  Task<void> shut_down() {
    stop_.request_stop();
    if (server_) co_await server_->stop(loop_, kHttpGrace);
    co_await node_->watch.close();
    co_await node_->workers.stop(config_.drain_timeout);
    co_await background_.join();
    beats_.request_stop();  // not before: while runs are finished this node lives
    co_await beats_.join();
    co_await node_->nodes.leave();
    co_await backends_->broker->close();
    co_await backends_->state->close();
    log_.info("stopped");
  }

  const Config& config_;
  Log log_;
  Metrics metrics_;
  UvEventLoop loop_;
  BlockingPool pool_;
  std::stop_source stop_;
  int status_ = 0;
  std::unique_ptr<Backends> backends_;
  std::optional<LifeLine> life_line_;
  std::unique_ptr<Node> node_;
  std::unique_ptr<HttpServer> server_;
  bool ready_ = false;
  bool refreshing_ = false;  // one is queued
  TaskGroup background_;
  TaskGroup beats_;
  TaskGroup tasks_;
};

}  // namespace

int run_daemon(const Config& config) {
  // Signals come through a descriptor; no thread may be interrupted by one. A peer that closes early is an error code.
  sigset_t blocked;
  sigemptyset(&blocked);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&blocked, signal);
  sigprocmask(SIG_BLOCK, &blocked, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  // Memory that a burst of runs took is kept for the next one: giving it back and taking it again with every run costs
  // more system calls than all its files.
  mallopt(M_TRIM_THRESHOLD, kHeapKept);
  mallopt(M_TOP_PAD, kHeapStep);
  Daemon daemon(config);
  return daemon.run();
}

}  // namespace millrace
