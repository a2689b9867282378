// Memory for what comes and goes by the hundred thousand a second in a few sizes: the frames of tasks, deliveries. Each
// thread keeps some of the blocks that were given back to it, by size, and hands them out again without a lock.
//
//   void* block = FramePool::take(size);
//   FramePool::give_back(block, size);          // with the same size; any thread
//
// Bounded: blocks above kBlockBytesMax, and beyond kKeptBytesMax a thread, are the heap's. With a sanitizer everything
// is: it must see each use after the end.
#pragma once

#include <array>
#include <cstddef>
#include <new>

namespace millrace {

class FramePool {
 public:
  static constexpr std::size_t kBlockBytesMax = 8192;
  static constexpr std::size_t kKeptBytesMax = std::size_t{1} << 20;

#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
  static constexpr bool kKeeps = false;
#else
  static constexpr bool kKeeps = true;
#endif

  FramePool() = default;
  FramePool(const FramePool&) = delete;
  FramePool& operator=(const FramePool&) = delete;
  ~FramePool() {
    for (Block*& first : kept_) {
      while (first != nullptr) ::operator delete(pop(first));
    }
    kept_bytes_ = kKeptBytesMax;  // whatever comes after the thread's end is the heap's
  }

  // Aligned for everything that is not aligned beyond std::max_align_t.
  [[nodiscard]] static void* take(std::size_t size) {
    if (!kKeeps || size > kBlockBytesMax) return ::operator new(size);
    FramePool& pool = of_this_thread();
    Block*& first = pool.kept_[class_of(size)];
    if (first == nullptr) return ::operator new(rounded(size));
    pool.kept_bytes_ -= rounded(size);
    return pop(first);
  }

  static void give_back(void* block, std::size_t size) noexcept {
    if (!kKeeps || size > kBlockBytesMax) return ::operator delete(block);
    FramePool& pool = of_this_thread();
    if (pool.kept_bytes_ + rounded(size) > kKeptBytesMax) return ::operator delete(block);
    pool.kept_bytes_ += rounded(size);
    Block*& first = pool.kept_[class_of(size)];
    first = new (block) Block{first};
  }

  [[nodiscard]] static std::size_t kept_bytes() { return of_this_thread().kept_bytes_; }  // by this thread

 private:
  struct Block {
    Block* next;
  };
  static constexpr std::size_t kStep = 64;

  static constexpr std::size_t class_of(std::size_t size) { return (size + kStep - 1) / kStep; }
  static constexpr std::size_t rounded(std::size_t size) { return class_of(size) * kStep; }
  static void* pop(Block*& first) {
    Block* block = first;
    first = block->next;
    return block;
  }
  // The one thing in the program that belongs to a thread and not to an object: a frame does not know who made it.
  static FramePool& of_this_thread() {
    thread_local FramePool pool;
    return pool;
  }

  std::array<Block*, kBlockBytesMax / kStep + 1> kept_{};
  std::size_t kept_bytes_ = 0;
};

// For std::allocate_shared and node containers.
template <class T>
struct FramePoolAllocator {
  using value_type = T;

  FramePoolAllocator() = default;
  template <class U>
  explicit(false) FramePoolAllocator(const FramePoolAllocator<U>&) noexcept {}  // as containers want it

  [[nodiscard]] T* allocate(std::size_t count) { return static_cast<T*>(FramePool::take(count * sizeof(T))); }
  void deallocate(T* block, std::size_t count) noexcept { FramePool::give_back(block, count * sizeof(T)); }
  bool operator==(const FramePoolAllocator&) const = default;
};

// A base that gives its classes such memory; those that are deleted by a base need a virtual destructor.
struct FromFramePool {
  static void* operator new(std::size_t size) { return FramePool::take(size); }
  static void operator delete(void* block, std::size_t size) noexcept { FramePool::give_back(block, size); }
};

}  // namespace millrace
