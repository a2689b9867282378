// RingQueue<T>: a queue in one block of memory, and in none while nothing was ever in it. Groups have a handful each
// and come by the ten thousand: half a kilobyte for an empty std::deque would count.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace millrace {

template <class T>
class RingQueue {
 public:
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] T& front() { return slots_[head_]; }
  [[nodiscard]] const T& operator[](std::size_t at) const { return slots_[(head_ + at) & (slots_.size() - 1)]; }

  void push_back(T value) {
    make_room();
    slots_[(head_ + size_) & (slots_.size() - 1)] = std::move(value);
    ++size_;
  }
  void push_front(T value) {
    make_room();
    head_ = (head_ + slots_.size() - 1) & (slots_.size() - 1);
    slots_[head_] = std::move(value);
    ++size_;
  }
  void pop_front() {
    slots_[head_] = T();
    head_ = (head_ + 1) & (slots_.size() - 1);
    constexpr std::size_t kKeptSlots = 1024;
    if (--size_ == 0 && slots_.size() > kKeptSlots) clear();  // a flood's memory goes with the flood
  }
  // Takes out the first that equals `value`; looks at all before it.
  void erase(const T& value) {
    std::size_t at = 0;
    while (at < size_ && !((*this)[at] == value)) ++at;
    if (at == size_) return;
    for (; at > 0; --at) std::swap(slot(at), slot(at - 1));
    pop_front();
  }
  void clear() {
    slots_ = std::vector<T>();
    head_ = size_ = 0;
  }

 private:
  [[nodiscard]] T& slot(std::size_t at) { return slots_[(head_ + at) & (slots_.size() - 1)]; }

  void make_room() {
    if (size_ < slots_.size()) return;
    std::vector<T> larger(slots_.empty() ? 4 : 2 * slots_.size());  // powers of two
    for (std::size_t at = 0; at < size_; ++at) larger[at] = std::move(slot(at));
    slots_ = std::move(larger);
    head_ = 0;
  }

  std::vector<T> slots_;
  std::size_t head_ = 0;
  std::size_t size_ = 0;
};

}  // namespace millrace
