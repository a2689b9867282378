// TaskGroup: owns tasks that run on their own, and the one place where "start it and go on" is allowed.
//
//   TaskGroup group(loop);
//   group.spawn(serve(connection, group.stop_token()));
//   ...
//   group.request_stop();
//   co_await group.join();
//
// Structured: join() before the things the tasks refer to go away. Destroying a group destroys what still runs in it.
#pragma once

#include <cstddef>
#include <list>
#include <optional>
#include <stop_token>
#include <vector>

#include "async/event_loop.h"
#include "async/one_shot.h"
#include "async/task.h"

namespace millrace {

class TaskGroup {
 public:
  // Stops when `parent` does.
  explicit TaskGroup(EventLoop& loop, std::stop_token parent = {});
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;
  ~TaskGroup() = default;

  // Starts `task` at once; it runs to its first suspension before spawn() returns.
  void spawn(Task<void> task);

  void request_stop() { source_.request_stop(); }
  [[nodiscard]] std::stop_token stop_token() const { return source_.get_token(); }

  // Returns when no task is left, tasks spawned while waiting included. One waiter at a time.
  [[nodiscard]] Task<void> join();

  [[nodiscard]] std::size_t size() const { return running_; }

 private:
  using Entries = std::list<Task<void>>;

  struct Forward {
    std::stop_source* source;
    void operator()() const { source->request_stop(); }
  };

  Task<void> run(Entries::iterator entry, Task<void> task);
  void sweep();

  EventLoop& loop_;
  std::stop_source source_;
  std::stop_callback<Forward> parent_;
  std::size_t running_ = 0;
  std::optional<OneShot<bool>> empty_;
  Entries entries_;
  std::vector<Entries::iterator> finished_;  // of entries_, to be erased from outside of them
};

}  // namespace millrace
