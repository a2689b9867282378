// Runs one task to its end on a real loop, from a plain test body.
//
//   UvEventLoop loop;
//   const auto reply = run_task(loop, client.get("/health"));
#pragma once

#include <optional>
#include <utility>

#include "async/task.h"
#include "async/task_group.h"
#include "async/uv_event_loop.h"

namespace millrace::test {

template <class T>
Task<void> run_and_stop(UvEventLoop& loop, Task<T> task, std::optional<T>& result) {
  T value = co_await task;
  result.emplace(std::move(value));
  loop.stop();
}

inline Task<void> run_and_stop(UvEventLoop& loop, Task<void> task) {
  co_await task;
  loop.stop();
}

template <class T>
T run_task(UvEventLoop& loop, Task<T> task) {
  std::optional<T> result;
  TaskGroup group(loop);
  group.spawn(run_and_stop(loop, std::move(task), result));
  loop.run();
  return std::move(*result);
}

inline void run_task(UvEventLoop& loop, Task<void> task) {
  TaskGroup group(loop);
  group.spawn(run_and_stop(loop, std::move(task)));
  loop.run();
}

}  // namespace millrace::test
