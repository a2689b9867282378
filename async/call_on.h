// call_on: runs a task on another loop and waits for it on this one. How an io thread asks the domain.
//
//   auto run = co_await call_on(domain_loop, request.loop(), request.stop_token(),
//                               [&runs, id](std::stop_token stop) { return runs.find(id, std::move(stop)); });
//
// `make_task` is called on `target` and kept there until its task is done; everything it holds is also destroyed there,
// unless `target` has stopped. The value comes back by moving. The token given to it belongs to `target`: it is
// requested there when `stop` is requested here, and when the waiting task is dropped, in which case nobody gets the
// value.
//
// Call it on `home`. References given to `make_task` must outlive the task on `target`, not only the caller.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

#include "async/event_loop.h"
#include "async/one_shot.h"
#include "async/task.h"

namespace millrace {
namespace call_on_detail {

template <class T>
struct TaskValue;
template <class T>
struct TaskValue<Task<T>> {
  using Value = T;
};

template <class MakeTask, class T>
struct Call {
  Call(EventLoop& target_loop, EventLoop& home_loop, MakeTask make)
      : target(target_loop), home(home_loop), make_task(std::move(make)), done(home_loop) {}

  EventLoop& target;
  EventLoop& home;
  std::optional<MakeTask> make_task;  // the target's
  std::stop_source stop;              // the target's
  Task<void> running;                 // the target's
  OneShot<std::optional<T>> done;     // home's
  std::mutex mutex;                   // guards abandoned, and with it that `home` is still there
  bool abandoned = false;

  // Its frame is `running`, so it only posts what will destroy it.
  static Task<void> run(std::shared_ptr<Call> call) {
    std::optional<T> value;
    {
      const Task<T> task = (*call->make_task)(call->stop.get_token());
      T result = co_await task;
      value.emplace(std::move(result));
    }
    call->make_task.reset();
    {
      const std::lock_guard lock(call->mutex);
      if (!call->abandoned) {
        call->home.post([call, value = std::move(value)]() mutable { call->done.set(std::move(value)); });
      }
    }
    call->target.post([call] { call->running = {}; });
  }
};

template <class Shared>
struct RequestStop {
  Shared call;
  void operator()() const {
    call->target.post([call = call] { call->stop.request_stop(); });
  }
};

// Tells the target when the waiting task is dropped; afterwards its loop may go away.
template <class Shared>
class Waiting {
 public:
  explicit Waiting(Shared call) : call_(std::move(call)) {}
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;
  ~Waiting() {
    {
      const std::lock_guard lock(call_->mutex);
      call_->abandoned = true;
    }
    if (!call_->done.is_set()) RequestStop<Shared>{call_}();
  }

 private:
  Shared call_;
};

}  // namespace call_on_detail

template <class MakeTask>
[[nodiscard]] auto call_on(EventLoop& target, EventLoop& home, std::stop_token stop, MakeTask make_task)
    -> std::invoke_result_t<MakeTask&, std::stop_token> {
  using T = typename call_on_detail::TaskValue<std::invoke_result_t<MakeTask&, std::stop_token>>::Value;
  static_assert(!std::is_void_v<T>, "return a Result<void>");
  using Call = call_on_detail::Call<MakeTask, T>;
  using Shared = std::shared_ptr<Call>;

  const auto call = std::make_shared<Call>(target, home, std::move(make_task));
  const call_on_detail::Waiting<Shared> waiting(call);
  target.post([call] {
    call->running = Call::run(call);
    call->running.start();
  });
  const std::stop_callback on_stop(stop, call_on_detail::RequestStop<Shared>{call});
  auto value = co_await call->done.wait();
  co_return std::move(*value);
}

}  // namespace millrace
