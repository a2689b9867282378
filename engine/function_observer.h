// Those who must act when a function appears, changes or goes: producers set their watches, the worker pool subscribes.
// The engine calls them in the order they were registered and knows nothing else of them.
//
// Threads: the domain loop.
#pragma once

#include <memory>
#include <stop_token>

#include "async/task.h"
#include "core/error.h"
#include "core/function_spec.h"

namespace millrace {

class FunctionObserver {
 public:
  virtual ~FunctionObserver() = default;

  // `now` is stored and matched already. The answer to the user waits for this; an error is the user's answer, while
  // the function stays applied and the observer tries again on its own.
  virtual Task<Result<void>> function_applied(std::shared_ptr<const FunctionSpec> now) = 0;

  // `gone` is no longer matched; its runs may still be finishing.
  virtual Task<void> function_removed(std::shared_ptr<const FunctionSpec> gone) = 0;

  // Returns when everything that happened outside before the call is published and confirmed; `cancelled` when stopped
  // first.
  virtual Task<Result<void>> drain(std::stop_token stop) = 0;
};

}  // namespace millrace
