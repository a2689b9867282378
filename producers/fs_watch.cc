#include "producers/fs_watch.h"

#include <algorithm>
#include <utility>

#include "async/readiness.h"
#include "async/sleep.h"

namespace millrace {
namespace {

constexpr std::chrono::seconds kReadRetry{1};

std::size_t watch_limit(std::size_t configured) {
  const std::size_t kernel = kernel_watches_max();
  return kernel == 0 ? configured : std::min(configured, kernel);
}

}  // namespace

FsWatch::FsWatch(EventLoop& loop, BlockingPool& pool, Parts parts, std::shared_ptr<WatchSource> source,
                 BucketDirectory directory_of, Options options, Metrics& metrics, Log& log)
    : loop_(loop),
      pool_(pool),
      seen_(parts.state.seen()),
      source_(std::move(source)),
      directory_of_(std::move(directory_of)),
      options_(options),
      log_(log),
      events_(metrics.counter("millrace_watch_events_total", "notifications about files and folders")),
      overflows_(
          metrics.counter("millrace_watch_overflows_total", "times the kernel's queue of notifications was full")),
      refused_(metrics.counter("millrace_watch_refused_total", "folders that could not be watched")),
      watches_(metrics.gauge("millrace_watches", "folders being watched")),
      own_(loop, parts.outputs, parts.state.runs()),
      examiner_(loop, parts.registry, parts.objects, parts.checks, parts.placed, own_, seen_, parts.ingest, log),
      candidates_(loop, examiner_, options.candidates, metrics, log),
      reconciler_(loop, parts.registry, parts.objects, seen_, candidates_, options.reconciler, metrics, log),
      first_fill_(loop, parts.objects, parts.checks, options.first_fill),
      turn_(loop, 1),
      changes_(loop, 1),
      group_(loop) {
  options_.watches_max = watch_limit(options.watches_max);
  group_.spawn(read_forever());
  group_.spawn(repair_forever());
}

Task<void> FsWatch::close() {
  group_.request_stop();
  co_await reconciler_.close();
  co_await candidates_.close();
  co_await group_.join();
}

Task<Result<void>> FsWatch::drain(std::stop_token stop) {
  const AnyStop either(group_.stop_token(), stop);
  const auto read = co_await read_queued(either.token());
  if (!read) co_return fail(read.error());
  const auto scanned = co_await reconciler_.drain(either.token());
  if (!scanned) co_return fail(scanned.error());
  const auto settled = co_await candidates_.settled(either.token());
  if (!settled) co_return fail(settled.error());
  for (const auto& [id, input] : inputs_) {
    if (!input.ready) co_return fail(input.trouble.with("input " + input.trigger.path.path + " is not watched yet"));
  }
  co_return Result<void>();
}

Task<void> FsWatch::read_forever() {
  const auto stop = group_.stop_token();
  Readiness readable(loop_, source_->fd(), EventLoop::Interest::readable);
  while (!stop.stop_requested()) {
    const auto ready = co_await readable.wait(stop);
    if (!ready) co_return;
    const auto room = co_await candidates_.room(stop);
    if (!room) co_return;
    Result<void> read;
    {
      const auto turn = co_await turn_.acquire(1, stop);
      if (!turn) co_return;
      read = co_await read_batch();
    }
    if (!read) {
      log_.error("notifications not read", {{"error", read.error()}});
      const auto slept = co_await sleep_for(loop_, kReadRetry, stop);
      if (!slept) co_return;
    }
  }
}

// Until everything queued at the call is read and its folders are walked, by this task or by read_forever().
Task<Result<void>> FsWatch::read_queued(std::stop_token stop) {
  const auto queued = source_->queued_bytes();
  if (!queued) co_return fail(queued.error());
  const std::size_t goal = bytes_read_ + *queued;
  for (;;) {
    const auto room = co_await candidates_.room(stop);
    if (!room) co_return fail(room.error());
    const auto turn = co_await turn_.acquire(1, stop);  // in any case: the last batch may still be worked on
    if (!turn) co_return fail(turn.error());
    if (bytes_read_ >= goal) co_return Result<void>();
    const auto read = co_await read_batch();
    if (!read) co_return fail(read.error());
  }
}

Task<Result<void>> FsWatch::read_batch() {
  auto batch = source_->read();
  if (!batch) co_return fail(batch.error());
  bytes_read_ += batch->bytes;
  events_.add(batch->notes.size());

  std::map<std::string, std::deque<std::string>> appeared;  // by bucket
  for (auto& note : batch->notes) take_note(std::move(note), appeared);
  for (auto& [bucket, folders] : appeared) {
    const auto walked = co_await walk(bucket, std::move(folders), Files::candidates);
    if (!walked) not_walked(bucket, walked.error());
  }
  if (std::exchange(overflowed_, false)) co_await recover_from_overflow();
  watches_.set(static_cast<std::int64_t>(tree_.size()));
  co_return Result<void>();
}

void FsWatch::take_note(WatchNote note, std::map<std::string, std::deque<std::string>>& appeared) {
  if (note.kind == WatchNoteKind::overflow) overflowed_ = true;
  const auto* known = tree_.find(note.watch);
  if (known == nullptr) return;  // a folder that moved away or is gone by now
  const WatchTree::Place place = *known;
  const std::string folder = place.folder + note.name + "/";
  switch (note.kind) {
    case WatchNoteKind::file: found_file(place.bucket, place.folder + note.name); break;
    case WatchNoteKind::folder_appeared:
      if (folder != ".millrace/" && concerns(wanted_folders(place.bucket), folder)) {
        appeared[place.bucket].push_back(folder);
      }
      break;
    case WatchNoteKind::folder_left:
      remove_watches(tree_.take_from({.bucket = place.bucket, .folder = folder}));
      std::erase_if(appeared[place.bucket], [&](const std::string& one) { return one.starts_with(folder); });
      break;
    case WatchNoteKind::watch_moved:
      // Of other folders, the one they were moved from tells.
      if (place.folder.empty()) bucket_left(place.bucket);
      break;
    case WatchNoteKind::watch_ended:
      tree_.forget(note.watch);
      if (place.folder.empty()) bucket_left(place.bucket);
      break;
    case WatchNoteKind::overflow: break;
  }
}

// The repair finds it when it is back.
void FsWatch::bucket_left(const std::string& bucket) {
  remove_watches(tree_.take_from({.bucket = bucket, .folder = ""}));
  walked_.erase(bucket);
  log_.warn("bucket's directory was removed or moved away", {{"bucket", bucket}});
}

Task<void> FsWatch::recover_from_overflow() {
  overflows_.add();
  log_.warn(
      "notifications were lost: scanning all inputs (raise the sysctl fs.inotify.max_queued_events if this is often)");
  for (const auto& bucket : buckets()) {
    const auto walked = co_await walk_bucket(bucket);
    if (!walked) not_walked(bucket, walked.error());
    reconciler_.request(bucket);
  }
}

// Folders that this does not come across any more lose their watches.
Task<Result<void>> FsWatch::walk_bucket(std::string bucket) {
  ++round_;
  const auto wanted = wanted_folders(bucket);
  const auto walked = co_await walk(bucket, {""}, Files::known);
  if (!walked) co_return fail(walked.error());
  remove_watches(tree_.take_older(bucket, round_));
  walked_.insert_or_assign(bucket, wanted);
  watches_.set(static_cast<std::int64_t>(tree_.size()));
  co_return Result<void>();
}

Task<Result<void>> FsWatch::walk(std::string bucket, std::deque<std::string> folders, Files files) {
  const auto stop = group_.stop_token();
  const auto walk =
      std::make_shared<FolderWalk>(source_, directory_of_(bucket), wanted_folders(bucket), std::move(folders));
  bool done = false;
  while (!done) {
    const WalkStep step = co_await pool_.run([walk] { return walk->step(); });
    const auto installed = install(bucket, step);
    if (!installed) co_return fail(installed.error());
    if (files == Files::candidates) {
      for (const auto& key : step.files) found_file(bucket, key);
      const auto room = co_await candidates_.room(stop);
      if (!room) co_return fail(room.error());
    }
    done = step.done;
  }
  co_return Result<void>();
}

Result<void> FsWatch::install(const std::string& bucket, const WalkStep& step) {
  for (const auto& [watch, folder] : step.watched) {
    const WatchTree::Place place{.bucket = bucket, .folder = folder};
    const bool more = tree_.find(watch) == nullptr && !tree_.has(place);
    if (more && tree_.size() >= options_.watches_max) {
      for (const auto& [added, name] : step.watched) {
        if (tree_.find(added) == nullptr) source_->remove(added);
      }
      refused_.add();
      return fail(Errc::resource_exhausted,
                  "bucket " + bucket + " has more folders than watches_max (" + std::to_string(options_.watches_max) +
                      ") allows: raise it and the sysctl fs.inotify.max_user_watches, or narrow the input paths");
    }
    remove_watches(tree_.put(watch, place, round_));
  }
  for (const auto& [folder, error] : step.refused) {
    refused_.add();
    if (folder.empty() || error.code == Errc::resource_exhausted) return fail(error);
    // What is in there is still found by scans, if we may list it.
    log_.warn("folder not watched", {{"bucket", bucket}, {"folder", folder}, {"error", error}});
  }
  return {};
}

void FsWatch::remove_watches(const std::vector<int>& watches) {
  for (const int watch : watches) source_->remove(watch);
}

void FsWatch::found_file(const std::string& bucket, const std::string& key) {
  const bool concerned = std::ranges::any_of(inputs_, [&](const auto& input) {
    return input.second.bucket == bucket && key.starts_with(input.second.folder);
  });
  if (!concerned) return;
  for (auto& [id, fill] : fills_) {
    const bool inside = fill.bucket == bucket && key.starts_with(fill.folder);
    if (inside && fill.changed.size() <= options_.changed_during_fill_max) fill.changed.insert(key);
  }
  candidates_.add({.bucket = bucket, .key = key});
}

// Said once; scans find what is not notified, and the repair tries again.
void FsWatch::not_walked(const std::string& bucket, const Error& error) {
  if (error.code == Errc::cancelled) return;  // on the way out
  if (walked_.erase(bucket) != 0) log_.error("bucket not watched completely", {{"bucket", bucket}, {"error", error}});
}

std::vector<std::string> FsWatch::wanted_folders(std::string_view bucket) const {
  std::set<std::string> folders;
  for (const auto& [id, input] : inputs_) {
    if (input.bucket == bucket) folders.insert(input.folder);
  }
  return {folders.begin(), folders.end()};
}

std::set<std::string> FsWatch::buckets() const {
  std::set<std::string> names;
  for (const auto& [id, input] : inputs_) names.insert(input.bucket);
  return names;
}

}  // namespace millrace
