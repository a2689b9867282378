// Local buckets as a source of events: a file that appears or changes below a function's input path becomes an event,
// whoever wrote it and however.
//
//   FsWatch watch(loop, pool, parts, std::move(source), directory_of, options, metrics, log);
//   registry.observe_inputs(watch);       // before registry.load(); watching begins as functions are told
//   ...
//   co_await watch.close();
//
// How: every folder that matters has a watch (watch_source.h); a notification names a candidate, the examiner decides
// on it, ingest publishes it. Nothing depends on a notification alone: the reconciler compares what is there with what
// was seen at start, every `rescan`, and whenever the kernel says that it lost some. README.md says what writers may
// do.
//
// Bounds: `watches_max` folders; candidates as in candidates.h. When those are full the kernel's queue is not read
// until there is room; if it overflows meanwhile, a scan finds what was lost. drain() is exact, since close(2) queues
// its notification before it returns. Threads: the domain loop; folders are walked on the pool.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "async/blocking_pool.h"
#include "async/event_loop.h"
#include "async/semaphore.h"
#include "async/task.h"
#include "async/task_group.h"
#include "engine/function_observer.h"
#include "engine/ingest.h"
#include "engine/registry.h"
#include "producers/candidates.h"
#include "producers/examiner.h"
#include "producers/first_fill.h"
#include "producers/folder_walk.h"
#include "producers/own_outputs.h"
#include "producers/reconciler.h"
#include "producers/watch_source.h"
#include "producers/watch_tree.h"
#include "runtime/executor.h"
#include "state/state_store.h"
#include "storage/object_store.h"
#include "storage/output_store.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace {

class FsWatch final : public FunctionObserver {
 public:
  struct Parts {
    const Registry& registry;
    Ingest& ingest;
    ObjectStore& objects;
    OutputStore& outputs;
    StateStore& state;
    WriteCheck& checks;
    const PlacedNames& placed;
  };

  struct Options {
    std::size_t watches_max = 100'000;               // folders; the kernel's own limit counts as well
    std::size_t changed_during_fill_max = 100'000;   // names noted while a first fill lists
    std::chrono::milliseconds repair_every{30'000};  // for folders and functions that could not be watched
    Candidates::Options candidates{};
    Reconciler::Options reconciler{};
    FirstFill::Options first_fill{};
  };

  // The absolute path of a bucket's directory.
  using BucketDirectory = std::function<std::string(const std::string& bucket)>;

  // `source` is shared with the walks on the pool, which may outlive this.
  FsWatch(EventLoop& loop, BlockingPool& pool, Parts parts, std::shared_ptr<WatchSource> source,
          BucketDirectory directory_of, Options options, Metrics& metrics, Log& log);

  // Begins to watch the local inputs. For an input that was never applied, what lies there already counts as seen when
  // this returns; for a known one, a scan for what came meanwhile has been started. `resource_exhausted` names the
  // limit of watches.
  Task<Result<void>> function_applied(std::shared_ptr<const FunctionSpec> now) override;
  Task<void> function_removed(std::shared_ptr<const FunctionSpec> gone) override;

  // Returns when everything the kernel had queued before the call is read, every scan that was due has ended, and every
  // candidate from them has its receipt or turned out to be nothing. What a writer holds open or keeps changing does
  // not hold it up: its close is still to come. An error means that something is not published yet; it stays queued
  // here, so the next drain() may succeed.
  Task<Result<void>> drain(std::stop_token stop) override;

  // Stops watching; what was not published is found by the scan of the next start. Once.
  [[nodiscard]] Task<void> close();

 private:
  // What is known of one input of one function.
  struct Input {
    Trigger trigger;
    std::string bucket;
    std::string folder;
    bool ready = false;  // watched, with its first rows
    Error trouble;       // while not
  };

  // A first fill that is listing, or has failed and will be tried again: names with an event meanwhile must run.
  struct Fill {
    std::string bucket;
    std::string folder;
    std::set<std::string> changed;
  };

  // Setting up and taking down, one function at a time: with `changes_` held (fs_watch_inputs.cc).
  Task<Result<void>> set_up(std::shared_ptr<const FunctionSpec> function);
  Task<Result<void>> set_up_input(Trigger trigger);
  Task<Result<void>> fill(Trigger trigger);
  Task<Result<void>> fill(Trigger trigger, const Fill& noted);
  Task<Result<FirstRows>> first_rows(Trigger trigger, const Fill& noted);
  Task<Result<void>> watch_input(Trigger trigger);
  Task<void> let_go(std::vector<Trigger> triggers);
  Task<void> repair_forever();
  Task<void> repair();

  // Reading the kernel's queue (fs_watch.cc).
  Task<void> read_forever();
  Task<Result<void>> read_queued(std::stop_token stop);

  // With `turn_` held.
  Task<Result<void>> read_batch();
  void take_note(WatchNote note, std::map<std::string, std::deque<std::string>>& appeared);
  Task<Result<void>> walk_bucket(std::string bucket);
  enum class Files : std::uint8_t { candidates, known };
  Task<Result<void>> walk(std::string bucket, std::deque<std::string> folders, Files files);
  Result<void> install(const std::string& bucket, const WalkStep& step);
  Task<void> recover_from_overflow();
  void bucket_left(const std::string& bucket);
  void remove_watches(const std::vector<int>& watches);

  void found_file(const std::string& bucket, const std::string& key);
  void not_walked(const std::string& bucket, const Error& error);
  [[nodiscard]] std::vector<std::string> wanted_folders(std::string_view bucket) const;
  [[nodiscard]] std::set<std::string> buckets() const;

  EventLoop& loop_;
  BlockingPool& pool_;
  SeenStore& seen_;
  std::shared_ptr<WatchSource> source_;
  BucketDirectory directory_of_;
  Options options_;
  Log& log_;
  Counter& events_;
  Counter& overflows_;
  Counter& refused_;
  Gauge& watches_;

  WatchTree tree_;
  std::uint64_t round_ = 0;  // of walks over a whole bucket
  // Buckets whose folders are all watched, as far as they concern these; a bucket where one could not be is not here.
  std::map<std::string, std::vector<std::string>> walked_;
  std::map<std::string, Input> inputs_;  // by trigger id
  std::map<std::string, std::shared_ptr<const FunctionSpec>> functions_;
  std::map<std::string, Fill> fills_;  // by trigger id
  std::size_t bytes_read_ = 0;         // of the kernel's queue, ever
  bool overflowed_ = false;

  OwnOutputs own_;
  Examiner examiner_;
  Candidates candidates_;
  Reconciler reconciler_;
  FirstFill first_fill_;
  Semaphore turn_;     // who reads the kernel's queue or changes the tree
  Semaphore changes_;  // who sets up or takes down functions
  TaskGroup group_;
};

}  // namespace millrace
