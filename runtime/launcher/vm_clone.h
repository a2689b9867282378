// clone3 for children that share the caller's memory until they exec (vfork semantics), on a stack of their own: the
// child must not run on the caller's frames. Nothing is copied, so the cost does not grow with the caller.
#pragma once

#include <linux/sched.h>

#include <cstddef>

#include "core/error.h"

namespace millrace::launcher {

// A stack whose pages are present before the first child runs: a page fault costs more than the clone itself.
class ChildStack {
 public:
  static Result<ChildStack> make();
  ChildStack(ChildStack&& other) noexcept;
  ChildStack& operator=(ChildStack&&) = delete;
  ChildStack(const ChildStack&) = delete;
  ~ChildStack();

  [[nodiscard]] void* base() const { return base_; }
  [[nodiscard]] static constexpr std::size_t size_bytes() { return 64 * 1024; }

 private:
  explicit ChildStack(void* base) : base_(base) {}
  void* base_;
};

// Runs `entry(argument)` in the child; when it returns the child exits with 127. The caller is suspended until the
// child has exec'ed or exited if CLONE_VFORK is among the flags, and must have all signals blocked. The pid, or minus
// errno. The child sees pid and mount namespaces of `arguments.flags`; stack and stack_size are filled in here.
[[nodiscard]] long clone_sharing_memory(clone_args& arguments, const ChildStack& stack, void (*entry)(void*),
                                        void* argument);

// The same with a copy of the caller's memory, for children that take long: the caller goes on at once.
[[nodiscard]] long clone_copying_memory(clone_args& arguments, void (*entry)(void*), void* argument);

}  // namespace millrace::launcher
