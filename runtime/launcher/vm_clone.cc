#include "runtime/launcher/vm_clone.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include <cerrno>
#include <utility>

#include "runtime/launcher/raw_syscall.h"

// The child starts with an empty stack, so nothing may be returned to: it calls entry(argument) and exits.
// rdi = clone_args, rsi = their size, rdx = entry, rcx = argument; syscall clobbers rcx, r8 and r9 survive it.
extern "C" long millrace_clone3(clone_args* arguments, std::size_t size, void (*entry)(void*), void* argument);
static_assert(SYS_clone3 == 435 && SYS_exit_group == 231);
asm(R"(
  .text
  .globl millrace_clone3
  .hidden millrace_clone3
  .type millrace_clone3, @function
millrace_clone3:
  .cfi_startproc
  movq %rdx, %r8
  movq %rcx, %r9
  movl $435, %eax
  syscall
  testq %rax, %rax
  jnz 1f
  .cfi_undefined rip
  xorl %ebp, %ebp
  movq %r9, %rdi
  callq *%r8
  movl $231, %eax
  movl $127, %edi
  syscall
  hlt
1:
  ret
  .cfi_endproc
  .size millrace_clone3, .-millrace_clone3
)");

namespace millrace::launcher {

Result<ChildStack> ChildStack::make() {
  void* base = ::mmap(nullptr, size_bytes(), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_POPULATE, -1, 0);
  if (base == MAP_FAILED) return fail(error_from_errno(errno, "mmap of a child's stack"));
  return ChildStack(base);
}

ChildStack::ChildStack(ChildStack&& other) noexcept : base_(std::exchange(other.base_, nullptr)) {}

ChildStack::~ChildStack() {
  if (base_ != nullptr) ::munmap(base_, size_bytes());
}

long clone_sharing_memory(clone_args& arguments, const ChildStack& stack, void (*entry)(void*), void* argument) {
  arguments.flags |= CLONE_VM;
  arguments.stack = raw::word(stack.base());
  arguments.stack_size = ChildStack::size_bytes();
  return millrace_clone3(&arguments, sizeof(arguments), entry, argument);
}

long clone_copying_memory(clone_args& arguments, void (*entry)(void*), void* argument) {
  const long pid = raw::call(SYS_clone3, raw::word(&arguments), sizeof(arguments));
  if (pid != 0) return pid;
  entry(argument);
  for (;;) raw::call(SYS_exit_group, 127);
}

}  // namespace millrace::launcher
