#include "app/wiring.h"

#include <utility>

#include "broker/log/log_broker.h"
#include "broker/memory/memory_broker.h"
#include "state/sqlite/sqlite_state.h"

namespace millrace {
namespace {

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
  co_return fail(Errc::invalid_argument, "broker '" + url + "' is unknown; expected log:DIR or memory:");
}

}  // namespace

Result<std::unique_ptr<Backends>> open_local_backends(const Config& config, EventLoop& loop, BlockingPool& pool,
                                                      Log& log, Metrics& metrics) {
  auto backends = std::make_unique<Backends>();
  auto store = FsStore::open(loop, pool, log, metrics, {.root = config.data + "/buckets", .places = config.buckets});
  if (!store) return fail(store.error());
  backends->store = std::move(*store);
  auto inotify = Inotify::open();
  if (!inotify) return fail(inotify.error().with("watch folders"));
  backends->watch_source = std::make_shared<Inotify>(std::move(*inotify));
  backends->launcher = std::make_unique<launched::LauncherClient>(loop, log, launched::LauncherClient::Options{});
  backends->container =
      std::make_unique<ContainerExecutor>(loop, *backends->launcher, pool, ContainerExecutor::Options{});
  auto process = ProcessExecutor::open(loop, *backends->launcher, pool, log, {.data = config.data});
  if (!process) return fail(process.error());
  backends->process = std::move(*process);
  backends->executors.add(ExecutorKind::container, *backends->container);
  backends->executors.add(ExecutorKind::process, *backends->process);
  return backends;
}

Task<Result<void>> open_durable_backends(Backends& backends, const Config& config, EventLoop& loop, Log& log,
                                         Metrics& metrics) {
  auto state = co_await open_sqlite_state({.path = config.data + "/state.db"}, loop, log, metrics);
  if (!state) co_return fail(state.error());
  backends.state = std::move(*state);
  auto broker = co_await open_broker(config, loop, log, metrics);
  if (!broker) co_return fail(broker.error());
  backends.broker = std::move(*broker);
  co_return Result<void>{};
}

}  // namespace millrace
