#include "app/wiring.h"

#include <string>
#include <utility>

#include "async/task_group.h"
#include "async/uv_event_loop.h"
#include "broker/log/log_broker.h"
#include "broker/memory/memory_broker.h"
#ifdef MILLRACE_WITH_NATS
#include "broker/nats/nats_broker.h"
#endif
#ifdef MILLRACE_WITH_POSTGRES
#include "state/postgres/postgres_state.h"
#endif
#include "state/sqlite/sqlite_state.h"

namespace millrace {
namespace {

#ifdef MILLRACE_WITH_NATS
NatsBrokerOptions nats_options(const Config& config) {
  NatsBrokerOptions options;
  options.url = config.broker;
  options.user = config.nats_user;
  options.password_file = config.nats_password_file;
  options.token_file = config.nats_token_file;
  options.credentials_file = config.nats_credentials_file;
  options.ca_file = config.nats_ca_file;
  options.certificate_file = config.nats_certificate_file;
  options.key_file = config.nats_key_file;
  options.node = config.node.empty() ? "millrace" : config.node;
  options.prefix = config.nats_prefix;
  options.replicas = config.nats_replicas;
  options.monitor_url = config.nats_monitor;
  options.synced = config.nats_synced;
  options.topic_bytes_max = config.topic_bytes_max;
  options.topic_messages_max = config.topic_messages_max;
  return options;
}

Task<void> describe(NatsBrokerOptions options, UvEventLoop& loop, Log& log, Result<std::string>& found) {
  found = co_await describe_nats_broker(std::move(options), loop, log);
  loop.stop();
}

Task<Result<std::unique_ptr<Broker>>> open_nats(const Config& config, EventLoop& loop, Log& log, Metrics& metrics) {
  auto broker = co_await open_nats_broker(nats_options(config), loop, metrics, log);
  if (!broker || config.allow_weak_durability) co_return broker;
  const Durability confirm = (*broker)->capabilities().confirm;
  if (confirm == Durability::synced || confirm == Durability::replicated) co_return broker;
  co_await (*broker)->close();
  co_return fail(Errc::failed_precondition,
                 "broker " + shown_nats_url(config.broker) + " confirms events at durability '" +
                     std::string(name_of(confirm)) +
                     "': a power cut may lose them. Set `sync_interval: always` in the server's jetstream block and "
                     "nats_monitor to its monitoring page (or nats_synced: yes), or nats_replicas: 3 on a cluster, or "
                     "say --allow-weak-durability yes to accept that");
}
#endif

std::string bucket_root(const Config& config) {
  return config.bucket_directory.empty() ? config.data + "/buckets" : config.bucket_directory;
}

Task<Result<std::unique_ptr<Broker>>> open_broker(const Config& config, EventLoop& loop, Log& log, Metrics& metrics) {
  const std::string url = config.broker.empty() ? "log:" + config.data + "/log" : config.broker;
  if (url.starts_with("log:")) {
    LogBrokerOptions options;
    options.directory = url.substr(4);
    options.segment_bytes = config.log_segment_bytes;
    options.topic_bytes_max = config.topic_bytes_max;
    options.topic_messages_max = config.topic_messages_max;
    auto broker = co_await open_log_broker(std::move(options), loop, metrics, log);
    co_return broker;
  }
  if (url == "memory:") {
    if (!config.allow_weak_durability) {
      co_return fail(
          Errc::failed_precondition,
          "broker memory: forgets every event when the daemon ends; say --allow-weak-durability yes to accept "
          "that");
    }
    MemoryBrokerOptions options;
    options.topic_bytes_max = config.topic_bytes_max;
    options.topic_messages_max = config.topic_messages_max;
    co_return make_memory_broker(options, loop, metrics);
  }
  if (url.starts_with("nats://") || url.starts_with("tls://")) {
#ifdef MILLRACE_WITH_NATS
    auto broker = co_await open_nats(config, loop, log, metrics);
    co_return broker;
#else
    co_return fail(Errc::unimplemented, "this millrace was built without NATS (WITH_NATS=OFF)");
#endif
  }
  co_return fail(Errc::invalid_argument,
                 "broker '" + url + "' is unknown; expected log:DIR, nats://HOST:PORT or memory:");
}

Task<Result<std::unique_ptr<StateStore>>> open_state(const Config& config, EventLoop& loop, Log& log,
                                                     Metrics& metrics) {
  if (config.state.empty()) {
    auto state = co_await open_sqlite_state({.path = config.data + "/state.db"}, loop, log, metrics);
    co_return state;
  }
#ifdef MILLRACE_WITH_POSTGRES
  PostgresOptions options;
  options.url = config.state;
  options.allow_weak_durability = config.allow_weak_durability;
  auto state = co_await open_postgres_state(std::move(options), loop, log, metrics);
  co_return state;
#else
  co_return fail(Errc::unimplemented, "this millrace was built without PostgreSQL (WITH_POSTGRES=OFF)");
#endif
}

}  // namespace

Result<std::unique_ptr<Backends>> open_local_backends(const Config& config, EventLoop& loop, BlockingPool& pool,
                                                      Log& log, Metrics& metrics) {
  auto backends = std::make_unique<Backends>();
  auto store = FsStore::open(loop, pool, log, metrics, {.root = bucket_root(config), .places = config.buckets});
  if (!store) return fail(store.error());
  backends->store = std::move(*store);
  auto inotify = Inotify::open();
  if (!inotify) return fail(inotify.error().with("watch folders"));
  backends->watch_source = std::make_shared<Inotify>(std::move(*inotify));
  backends->launcher = std::make_unique<launched::LauncherClient>(loop, log, launched::LauncherClient::Options{});
  backends->container =
      std::make_unique<ContainerExecutor>(loop, *backends->launcher, pool,
                                          ContainerExecutor::Options{.image_directories = config.image_directories,
                                                                     .allow_host_network = config.allow_host_network});
  auto process = ProcessExecutor::open(loop, *backends->launcher, pool, log, {.data = config.data});
  if (!process) return fail(process.error());
  backends->process = std::move(*process);
  backends->executors.add(ExecutorKind::container, *backends->container);
  backends->executors.add(ExecutorKind::process, *backends->process);
  backends->oci =
      std::make_unique<ContainerExecutor>(loop, *backends->launcher, pool,
                                          ContainerExecutor::Options{.image_directories = config.image_directories,
                                                                     .kind = ExecutorKind::oci,
                                                                     .allow_host_network = config.allow_host_network});
  backends->executors.add(ExecutorKind::oci, *backends->oci);
  return backends;
}

Task<Result<void>> open_durable_backends(Backends& backends, const Config& config, EventLoop& loop, Log& log,
                                         Metrics& metrics) {
  if (!backends.state) {
    auto state = co_await open_state(config, loop, log, metrics);
    if (!state) co_return fail(state.error());
    backends.state = std::move(*state);
  }
  auto broker = co_await open_broker(config, loop, log, metrics);
  if (!broker) co_return fail(broker.error());
  backends.broker = std::move(*broker);
  co_return Result<void>{};
}

Result<std::string> check_broker(const Config& config) {
  Result<std::string> found = "synced: the embedded log";
  if (config.broker == "memory:") found = "memory: forgets every event when the daemon ends";
#ifdef MILLRACE_WITH_NATS
  if (config.broker.starts_with("nats://") || config.broker.starts_with("tls://")) {
    UvEventLoop loop;
    Log log({.level = LogLevel::error});
    NatsBrokerOptions options = nats_options(config);
    options.connect_for = std::chrono::milliseconds(0);
    TaskGroup group(loop);
    group.spawn(describe(std::move(options), loop, log, found));
    loop.run();
  }
#else
  if (config.broker.starts_with("nats://") || config.broker.starts_with("tls://")) {
    return fail(Errc::unimplemented, "this millrace was built without NATS (WITH_NATS=OFF)");
  }
#endif
  if (!found || config.allow_weak_durability) return found;
  if (found->starts_with("synced") || found->starts_with("replicated")) return found;
  return fail(Errc::failed_precondition, *found + "; `serve` wants synced, or allow_weak_durability: yes");
}

}  // namespace millrace
