// System calls without the C library, for children made with CLONE_VM: they share memory with their suspended parent,
// so errno, malloc and the C library's own setuid (which signals the parent's threads) are out of bounds there.
#pragma once

#include <sys/syscall.h>

#include <cstdint>

namespace millrace::launcher::raw {

#if !defined(__x86_64__)
#error "the launcher is written for x86_64; other machines need their own entry sequence here and in vm_clone.cc"
#endif

// The kernel's answer: a value, or minus the error number.
inline long call(long number, std::uint64_t a = 0, std::uint64_t b = 0, std::uint64_t c = 0, std::uint64_t d = 0,
                 std::uint64_t e = 0) {
  long result = number;
  register std::uint64_t r10 asm("r10") = d;
  register std::uint64_t r8 asm("r8") = e;
  asm volatile("syscall" : "+a"(result) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
  return result;
}

inline std::uint64_t word(const volatile void* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer);
}
inline std::uint64_t word(int value) {
  return static_cast<std::uint64_t>(static_cast<std::int64_t>(value));
}

}  // namespace millrace::launcher::raw
