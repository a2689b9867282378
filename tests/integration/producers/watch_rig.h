// A daemon's producing half on a directory of the test's own: real inotify, real store and threads; the broker and the
// state are in memory and outlive the daemon, so that it can be stopped and started.
//
//   WatchRig rig;
//   rig.apply("resize", "photos/in");
//   rig.write("photos/in/a.jpg", "...");
//   EXPECT_THAT(rig.taken("resize"), ElementsAre("in/a.jpg"));    // drains first
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "async/blocking_pool.h"
#include "async/uv_event_loop.h"
#include "broker/memory/memory_broker.h"
#include "core/fd.h"
#include "engine/ingest.h"
#include "engine/registry.h"
#include "engine/run_table.h"
#include "producers/fs_watch.h"
#include "state/memory/memory_state.h"
#include "storage/fs/fs_store.h"
#include "tests/support/run_task.h"
#include "tests/support/temp_dir.h"

namespace millrace::test {

// Remembers what was accepted for the first time.
class RecordingBroker final : public Broker {
 public:
  explicit RecordingBroker(std::unique_ptr<Broker> inner) : inner_(std::move(inner)) {}

  std::map<std::string, std::vector<Event>> accepted;  // by topic
  bool away = false;                                   // publishes fail

  Capabilities capabilities() const override { return inner_->capabilities(); }
  Task<Result<void>> ensure(TopicSpec topic) override { return inner_->ensure(std::move(topic)); }
  Task<Result<std::vector<std::string>>> topics() override { return inner_->topics(); }
  Task<std::vector<Result<Receipt>>> publish(std::string topic, std::vector<Outgoing> batch) override;
  Task<Result<std::unique_ptr<Subscription>>> subscribe(SubscribeOptions options) override {
    return inner_->subscribe(std::move(options));
  }
  Task<Result<Lag>> lag(std::string topic, std::string group) override { return inner_->lag(topic, group); }
  Task<Result<std::vector<DeadLetter>>> dead_letters(std::string topic, std::string group, std::string after,
                                                     std::size_t limit) override {
    return inner_->dead_letters(topic, group, after, limit);
  }
  Task<Result<std::uint64_t>> redrive(std::string topic, std::string group, std::vector<std::string> ids) override {
    return inner_->redrive(topic, group, ids);
  }
  Task<Result<void>> purge(std::string topic, std::string group) override { return inner_->purge(topic, group); }
  Task<Result<TopicInfo>> describe(std::string topic) override { return inner_->describe(topic); }
  Task<Result<void>> remove_group(std::string topic, std::string group) override {
    return inner_->remove_group(topic, group);
  }
  Task<Result<void>> remove_topic(std::string topic) override { return inner_->remove_topic(topic); }
  Task<Result<std::unique_ptr<Watch>>> watch(std::string topic, TopicWatcher& watcher) override {
    return inner_->watch(topic, watcher);
  }
  void on_backlog(std::move_only_function<void(const std::string& topic)> changed) override {
    inner_->on_backlog(std::move(changed));
  }
  Task<void> close() override { return inner_->close(); }

 private:
  std::unique_ptr<Broker> inner_;
};

// Accepts every function and runs none.
class IdleExecutor final : public Executor {
 public:
  std::vector<Control> controls() const override { return {}; }
  Task<Result<std::vector<std::string>>> check(std::shared_ptr<const FunctionSpec> function) override;
  Task<Result<Execution>> run(ExecutionRequest request, std::stop_token stop) override;
  void forget(const FunctionUid&, std::uint64_t) override {}
};

// The real thing, as far as an owner may: a read lease is refused while anybody has the file open for writing.
class LeaseCheck final : public WriteCheck {
 public:
  std::function<void()> at_next;  // runs once, during the next check
  bool next_is_writer = false;    // whatever is true
  std::optional<Error> next_error;
  Task<Result<WriteState>> check(Fd file) override;
};

// Real inotify that can lose everything that is queued, as the kernel does when its queue is full.
class LossySource final : public WatchSource {
 public:
  explicit LossySource(Inotify inner) : inner_(std::move(inner)) {}

  bool lose = false;  // with the next read

  int fd() const override { return inner_.fd(); }
  Result<int> add(int directory) override { return inner_.add(directory); }
  void remove(int watch) override { inner_.remove(watch); }
  Result<WatchBatch> read() override;
  Result<std::size_t> queued_bytes() override { return inner_.queued_bytes(); }

 private:
  Inotify inner_;
};

class WatchRig {
  TempDir directory_;
  Metrics metrics_;
  Log log_;

 public:
  explicit WatchRig(FsWatch::Options options = {});
  ~WatchRig();

  // Creates or updates a function with one input.
  Result<Applied> try_apply(const std::string& name, const std::string& path,
                            const std::function<void(FunctionSpec&)>& change = {});
  void apply(const std::string& name, const std::string& path, const std::function<void(FunctionSpec&)>& change = {});
  void remove(const std::string& name);

  // Stops what a daemon's death stops, and starts it anew.
  void stop();
  void start();

  // Keys accepted for the function so far, each as often as it would have run; in order. Drains first.
  std::vector<std::string> taken(const std::string& function);
  Result<void> drain();

  // Paths are "bucket/key". Folders on the way are made.
  [[nodiscard]] std::string path(const std::string& object) const { return directory_ / ("buckets/" + object); }
  void write(const std::string& object, const std::string& text = "text");
  [[nodiscard]] Fd open_to_write(const std::string& object);
  void folder(const std::string& name);

  [[nodiscard]] std::string trigger(const std::string& function);
  [[nodiscard]] std::map<std::string, EventId> rows(const std::string& function);
  [[nodiscard]] std::uint64_t counter(const std::string& name) { return metrics_.counter(name, "").value(); }
  [[nodiscard]] std::int64_t gauge(const std::string& name) { return metrics_.gauge(name, "").value(); }

  UvEventLoop loop;
  LeaseCheck checks;
  std::unique_ptr<RecordingBroker> broker;
  std::unique_ptr<StateStore> state;
  std::shared_ptr<LossySource> source;

  // Of a running daemon.
  struct Daemon;
  [[nodiscard]] FsStore& store();
  [[nodiscard]] Registry& registry();

 private:
  FsWatch::Options options_;
  IdleExecutor executor_;
  Executors executors_;
  UlidMaker ulids_;
  BlockingPool pool_;
  std::unique_ptr<Daemon> daemon_;
};

}  // namespace millrace::test
