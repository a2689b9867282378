// What several daemons on one state store need to know of one another: who is there, and what has just changed. Only a
// store that they can share has it (StateStore::shared()).
//
//   auto joined = co_await shared.join(me);              // refused where a live node has this name
//   shared.on_notice([](const Notice& notice) { ... });  // functions changed, a run ended, a run is to be cancelled
//   co_await shared.beat(me);                            // every third of the lease
//   co_await shared.leave(me);
//
// A node is alive until its lease has run out by the store's own clock: the clocks of the nodes may differ. Notices are
// hints: they may be late, doubled or missing, and whoever follows them also looks now and then.
//
// Threads: called on the domain loop, resumes there.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "async/task.h"
#include "core/error.h"
#include "core/run.h"

namespace millrace {

// One daemon, as the others see it.
struct NodeRow {
  std::string name;      // unique among the live
  std::string identity;  // of its data directory, and so the same in the next life of the same node
  std::string session;   // of this life
  std::string broker;    // where its events are; `alone`: in a broker that serves one daemon
  std::string roles;     // "gateway,producer,worker"
  std::string version;   // of the program
  std::string address;   // HOST:PORT of its API or of its health page
  WallTime started_at{};
  std::uint64_t running = 0;
  std::uint64_t memory_bytes = 0;  // for functions, and what of it no run has reserved
  std::uint64_t memory_free_bytes = 0;
  std::uint64_t cpu_millicores = 0;
  std::uint64_t cpu_free_millicores = 0;
  // Told by the store, by its clock.
  bool alive = true;
  std::chrono::milliseconds heartbeat_age{0};

  static constexpr const char* kAlone = "alone";
};

struct Notice {
  enum class Kind : std::uint8_t {
    again,      // some may have been missed: look at everything
    functions,  // one was applied or removed
    run_ended,
    cancel,  // whoever works on the run is to stop it
  };
  Kind kind = Kind::again;
  RunId run_id;
};

class SharedState {
 public:
  virtual ~SharedState() = default;

  // Takes the name. `already_exists`: a live node has it, or this data directory lives on as another process;
  // `failed_precondition`: live nodes have their events in another broker, or one of them in a broker that serves one
  // daemon. A node of the same identity is an earlier life of this one and makes room.
  virtual Task<Result<void>> join(NodeRow me, std::chrono::milliseconds lease) = 0;
  // Renews the lease and what is told of the node. `aborted`: the name is another's by now, or another life's.
  virtual Task<Result<void>> beat(NodeRow me, std::chrono::milliseconds lease) = 0;
  virtual Task<Result<void>> leave(NodeRow me) = 0;  // idempotent
  // The live, and those whose lease ran out within kGoneNodesKept. By name.
  virtual Task<Result<std::vector<NodeRow>>> nodes() = 0;

  // Tells every node, this one included.
  virtual Task<Result<void>> announce(Notice notice) = 0;
  // Called in a step of its own for each notice. One listener, before the first notice can come.
  virtual void on_notice(std::move_only_function<void(const Notice& notice)> heard) = 0;
};

inline constexpr std::chrono::hours kGoneNodesKept{1};

}  // namespace millrace
