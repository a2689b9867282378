// Topic outputs: results of a run that become events on user topics.
//
// They stand in the run's committed row like its files, so that however often a crash repeats this, the events are the
// same: id H(run id, index), time of the commit, the run as cause. The broker knows them by that id.
//
//   TopicOutputs events(objects, pool, state, ingest);
//   auto published = co_await events.publish(record);
//
// Threads: the domain loop; files are read by the pool.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "async/blocking_pool.h"
#include "async/task.h"
#include "broker/broker.h"
#include "core/error.h"
#include "core/function_spec.h"
#include "core/run.h"
#include "engine/user_topics.h"
#include "state/state_store.h"
#include "storage/object_store.h"
#include "storage/output_store.h"

namespace millrace {

// What of a run's results becomes events: each sealed file that an output accepts; where there is no file at all, what
// was printed, if anything was.
[[nodiscard]] std::vector<OutputFile> name_events(const FunctionSpec& function, const Sealed& sealed, bool printed);

// Printed results that become events are kept in the row, so they fit an event or nothing is published.
[[nodiscard]] bool publishes_what_is_printed(const FunctionSpec& function, const Sealed& sealed);

// Whether a run has a file that is to appear in a bucket; events need no placing.
[[nodiscard]] bool has_files(const std::vector<OutputFile>& outputs);
// Whether anything of it lies in its attempt's directory.
[[nodiscard]] bool has_private_copies(const std::vector<OutputFile>& outputs);

// The event about one of them, still without its data.
[[nodiscard]] Event result_event(const RunRecord& record, std::uint32_t index);

class TopicOutputs {
 public:
  TopicOutputs(ObjectStore& objects, BlockingPool& pool, RunStore& runs, const UserTopics& topics)
      : objects_(objects), pool_(pool), runs_(runs), topics_(topics) {}

  // All events of the record are confirmed. A record from a list has no `result`: it is read again where it is needed.
  // `data_loss`: a private copy is gone or changed.
  [[nodiscard]] Task<Result<void>> publish(RunRecord record);

 private:
  // Those that are due as one message each, all of one topic.
  struct Batch {
    std::string topic;
    std::vector<Outgoing> messages;
    std::size_t bytes = 0;
  };

  Task<Result<Outgoing>> message(const RunRecord& record, std::uint32_t index);
  Task<Result<void>> send(Batch batch);
  Task<Result<std::string>> read(ObjectRef object);

  ObjectStore& objects_;
  BlockingPool& pool_;
  RunStore& runs_;
  const UserTopics& topics_;
};

}  // namespace millrace
