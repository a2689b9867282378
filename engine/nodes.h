// The nodes that share this one's state store: joins them, renews this node's lease, and tells who is there. On a store
// that serves one daemon, this node is the only one.
//
//   Nodes nodes(loop, state.shared(), me, describe, {.lease = 15s}, log);
//   co_await nodes.join();                  // before anything is taken or cleared up: refused where the name is taken
//   background.spawn(nodes.run(stop, [] { ... this node has lost its name ... }));
//   co_await nodes.leave();
//
// Threads: the domain loop.
#pragma once

#include <chrono>
#include <functional>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "async/event_loop.h"
#include "async/task.h"
#include "core/error.h"
#include "state/shared_state.h"
#include "telemetry/log.h"

namespace millrace {

struct NodesOptions {
  std::chrono::milliseconds lease = std::chrono::seconds(15);  // renewed every third of it
};

class Nodes {
 public:
  using Describe = std::function<void(NodeRow& me)>;  // fills in what changes

  Nodes(EventLoop& loop, SharedState* shared, NodeRow me, Describe describe, NodesOptions options, Log& log);

  // Errors as SharedState::join(). Warns of nodes of another version.
  [[nodiscard]] Task<Result<void>> join();

  // Until stopped. `displaced` is called, once, when the name is somebody else's: this node must end.
  [[nodiscard]] Task<void> run(std::stop_token stop, std::function<void()> displaced);

  // Gives the name back. What fails ends with the lease.
  [[nodiscard]] Task<void> leave();

  // This one included, with those that are gone since recently. By name.
  [[nodiscard]] Task<Result<std::vector<NodeRow>>> all();

  struct Living {
    std::set<std::string> names;
    bool first = true;     // this node is the one that clears up behind the dead
    bool workers = false;  // one of them runs functions
  };
  // As of now.
  [[nodiscard]] Task<Result<Living>> living();

  // To all nodes, this one included; nothing where this is the only one.
  [[nodiscard]] Task<Result<void>> announce(Notice notice);

  [[nodiscard]] const std::string& name() const { return me_.name; }
  [[nodiscard]] bool shared() const { return shared_ != nullptr; }
  [[nodiscard]] bool is_first() const { return first_; }  // as of the last look, at most a third of the lease ago
  void set_address(std::string address) { me_.address = std::move(address); }

 private:
  Task<bool> beat();  // false: displaced

  EventLoop& loop_;
  SharedState* shared_;
  NodeRow me_;
  Describe describe_;
  NodesOptions options_;
  Log& log_;
  bool first_ = true;
};

// True if `roles`, a list with commas, holds the role.
[[nodiscard]] bool has_role(std::string_view roles, std::string_view role);

}  // namespace millrace
