// Several tasks side by side, where each would otherwise wait for the one before it:
//
//   auto [row, file] = co_await together(loop, rows.get(id), files.open(path));
//
// Answers when all have ended, whatever they say: one that fails ends none of the others. They are started in the order
// written. Dropping it drops them all. Loop thread only.
#pragma once

#include <optional>
#include <tuple>
#include <utility>

#include "async/event_loop.h"
#include "async/task.h"
#include "async/task_group.h"

namespace millrace {

namespace together_detail {

template <class T>
Task<void> keep(Task<T> task, std::optional<T>& result) {
  auto value = co_await std::move(task);
  result.emplace(std::move(value));
}

}  // namespace together_detail

template <class... T>
[[nodiscard]] Task<std::tuple<T...>> together(EventLoop& loop, Task<T>... tasks) {
  std::tuple<std::optional<T>...> results;
  TaskGroup group(loop);  // goes before what its tasks write to
  std::apply([&](auto&... result) { (group.spawn(together_detail::keep(std::move(tasks), result)), ...); }, results);
  co_await group.join();
  co_return std::apply([](auto&... result) { return std::tuple<T...>(std::move(*result)...); }, results);
}

}  // namespace millrace
