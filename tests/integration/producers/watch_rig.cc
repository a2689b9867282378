#include "tests/integration/producers/watch_rig.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <stdexcept>
#include <utility>

namespace millrace::test {

Task<std::vector<Result<Receipt>>> RecordingBroker::publish(std::string topic, std::vector<Outgoing> batch) {
  if (away) co_return std::vector<Result<Receipt>>(batch.size(), fail(Errc::unavailable, "the broker is away"));
  const std::vector<Outgoing> sent = batch;
  auto receipts = co_await inner_->publish(topic, std::move(batch));
  for (std::size_t i = 0; i < receipts.size(); ++i) {
    if (receipts[i] && !receipts[i]->duplicate) accepted[topic].push_back(sent[i].event);
  }
  co_return receipts;
}

Task<Result<std::vector<std::string>>> IdleExecutor::check(std::shared_ptr<const FunctionSpec>) {
  co_return std::vector<std::string>();
}

Task<Result<Execution>> IdleExecutor::run(ExecutionRequest, std::stop_token) {
  co_return fail(Errc::unimplemented, "nothing runs here");
}

Task<Result<WriteState>> LeaseCheck::check(Fd file) {
  if (const auto now = std::exchange(at_next, {})) now();
  if (next_error) co_return fail(*std::exchange(next_error, std::nullopt));
  if (std::exchange(next_is_writer, false)) co_return WriteState::open_for_writing;
  const bool quiet = ::fcntl(file.get(), F_SETLEASE, F_RDLCK) == 0;
  if (!quiet) co_return errno == EAGAIN ? WriteState::open_for_writing : WriteState::unknown;
  ::fcntl(file.get(), F_SETLEASE, F_UNLCK);
  co_return WriteState::quiet;
}

Result<WatchBatch> LossySource::read() {
  auto batch = inner_.read();
  if (!lose || !batch) return batch;
  lose = false;
  batch->notes.clear();
  batch->notes.push_back({.watch = -1, .kind = WatchNoteKind::overflow, .name = {}});
  return batch;
}

struct WatchRig::Daemon {
  Daemon(WatchRig& rig, std::unique_ptr<FsStore> opened, BlockingPool& threads)
      : store(std::move(opened)),
        registry(rig.loop, rig.state->functions(), *rig.broker, store->objects(), rig.executors_, rig.ulids_,
                 std::chrono::seconds(30), rig.log_),
        ingest(rig.loop, registry, *rig.broker, rig.state->seen(), runs, rig.ulids_),
        watch(
            rig.loop, threads,
            {.registry = registry,
             .ingest = ingest,
             .objects = store->objects(),
             .outputs = store->outputs(),
             .state = *rig.state,
             .checks = rig.checks,
             .placed = placed},
            rig.source, [this](const std::string& bucket) { return store->directory_of(bucket); }, rig.options_,
            rig.metrics_, rig.log_) {
    registry.observe_inputs(watch);
  }

  std::unique_ptr<FsStore> store;
  Registry registry;
  RunTable runs;
  Ingest ingest;
  PlacedNames placed;
  FsWatch watch;
};

WatchRig::WatchRig(FsWatch::Options options)
    : log_({.level = LogLevel::error}),
      broker(std::make_unique<RecordingBroker>(make_memory_broker({}, loop, metrics_))),
      state(make_memory_state(loop)),
      options_(options),
      pool_(loop, {.threads = 2, .queued_max = 64}) {
  executors_.add(ExecutorKind::container, executor_);
  start();
}

WatchRig::~WatchRig() {
  if (daemon_) stop();
}

void WatchRig::start() {
  source = std::make_shared<LossySource>(*Inotify::open());
  auto opened = FsStore::open(loop, pool_, log_, metrics_, {.root = directory_ / "buckets", .places = {}});
  if (!opened) throw std::runtime_error(opened.error().message);
  daemon_ = std::make_unique<Daemon>(*this, std::move(*opened), pool_);
  const auto loaded = run_task(loop, daemon_->registry.load());
  if (!loaded) throw std::runtime_error(loaded.error().message);
}

void WatchRig::stop() {
  run_task(loop, daemon_->watch.close());
  daemon_.reset();
  source.reset();
}

Result<Applied> WatchRig::try_apply(const std::string& name, const std::string& path,
                                    const std::function<void(FunctionSpec&)>& change) {
  FunctionSpec spec;
  spec.name = name;
  spec.script = "true";
  spec.inputs.push_back({.storage = {.provider = "local", .path = path}});
  if (change) change(spec);
  auto applied = run_task(loop, daemon_->registry.apply({spec}));
  if (!applied) return fail(applied.error());
  return std::move(applied->front());
}

void WatchRig::apply(const std::string& name, const std::string& path,
                     const std::function<void(FunctionSpec&)>& change) {
  const auto applied = try_apply(name, path, change);
  ASSERT_TRUE(applied) << applied.error().message;
}

void WatchRig::remove(const std::string& name) {
  const auto removed = run_task(loop, daemon_->registry.remove(name));
  ASSERT_TRUE(removed) << removed.error().message;
}

Result<void> WatchRig::drain() {
  return run_task(loop, daemon_->registry.drain());
}

std::vector<std::string> WatchRig::taken(const std::string& function) {
  const auto drained = drain();
  EXPECT_TRUE(drained) << drained.error().message;
  std::vector<std::string> keys;
  for (const auto& event : broker->accepted[work_topic(function)]) keys.push_back(event.object->key);
  std::ranges::sort(keys);
  return keys;
}

void WatchRig::write(const std::string& object, const std::string& text) {
  const Fd file = open_to_write(object);
  ASSERT_EQ(::write(file.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

Fd WatchRig::open_to_write(const std::string& object) {
  const std::string name = path(object);
  std::filesystem::create_directories(std::filesystem::path(name).parent_path());
  Fd file(::open(name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  EXPECT_TRUE(file) << name;
  return file;
}

void WatchRig::folder(const std::string& name) {
  std::filesystem::create_directories(path(name));
}

std::string WatchRig::trigger(const std::string& function) {
  return triggers_of(daemon_->registry.find(function)).front().id;
}

std::map<std::string, EventId> WatchRig::rows(const std::string& function) {
  return *run_task(loop, state->seen().all(trigger(function)));
}

FsStore& WatchRig::store() {
  return *daemon_->store;
}
Registry& WatchRig::registry() {
  return daemon_->registry;
}

}  // namespace millrace::test
