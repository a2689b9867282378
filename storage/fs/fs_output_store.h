// FsOutputStore: the output store port on plain files.
#pragma once

#include <memory>
#include <string>

#include "async/blocking_pool.h"
#include "async/event_loop.h"
#include "storage/fs/attempt.h"
#include "storage/fs/buckets.h"
#include "storage/fs/shared_syncs.h"
#include "storage/output_store.h"
#include "telemetry/metrics.h"

namespace millrace {

class FsOutputStore final : public OutputStore {
 public:
  FsOutputStore(EventLoop& loop, BlockingPool& pool, Metrics& metrics, std::shared_ptr<fs::Buckets> buckets);

  Task<Result<AttemptDirectory>> make_attempt(AttemptPlace place) override;
  Task<Result<Sealed>> seal(AttemptPlace place, SealLimits limits, OutputRank rank) override;
  Task<Result<AttemptUsage>> measure(AttemptPlace place, SealLimits limits) override;
  Task<Result<std::vector<Placed>>> place(std::vector<OutputFile> files, OutputRank rank) override;
  Task<Result<void>> remove_attempt(AttemptPlace place) override;
  Task<Result<std::vector<FoundAttempt>>> attempts(AttemptPlace after, std::size_t limit) override;
  Task<Result<std::optional<OutputMark>>> mark_of(ObjectRef object) override;

 private:
  BlockingPool& pool_;
  Histogram& seal_time_;
  Histogram& place_time_;
  Counter& appeared_;
  Counter& replaced_;
  Counter& superseded_;
  std::shared_ptr<fs::Buckets> buckets_;
  fs::SharedSyncs syncs_;
};

}  // namespace millrace
