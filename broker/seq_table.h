// SeqTable<T>: values under growing sequence numbers, dense where they are many, cheap where few are left.
//
//   SeqTable<Message> messages;
//   messages.insert(messages_added++, message);
//   for (auto seq = messages.next(0); seq; seq = messages.next(*seq + 1)) visit(*messages.find(*seq));
//
// Blocks of 64 neighbours; an empty block is given back. Pointers stay valid until their own element is erased.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>

namespace millrace {

template <class T>
class SeqTable {
 public:
  [[nodiscard]] T* find(std::uint64_t seq) {
    Block* block = find_block(seq / kBlock);
    return block != nullptr && (block->used >> (seq % kBlock) & 1) != 0 ? &block->values[seq % kBlock] : nullptr;
  }

  // Adds or replaces.
  T& insert(std::uint64_t seq, T value) {
    Block* block = find_block(seq / kBlock);
    if (block == nullptr) {
      auto& slot = blocks_[seq / kBlock];
      slot = std::make_unique<Block>();
      block = slot.get();
      last_number_ = seq / kBlock;
      last_ = block;
    }
    const std::uint64_t bit = std::uint64_t{1} << (seq % kBlock);
    if ((block->used & bit) == 0) ++size_;
    block->used |= bit;
    return block->values[seq % kBlock] = std::move(value);
  }

  void erase(std::uint64_t seq) {
    Block* block = find_block(seq / kBlock);
    const std::uint64_t bit = std::uint64_t{1} << (seq % kBlock);
    if (block == nullptr || (block->used & bit) == 0) return;
    --size_;
    block->used &= ~bit;
    block->values[seq % kBlock] = T();
    if (block->used == 0) {
      last_ = nullptr;
      blocks_.erase(seq / kBlock);
    }
  }

  // The smallest sequence number in use that is not below `from`.
  [[nodiscard]] std::optional<std::uint64_t> next(std::uint64_t from) {
    const std::uint64_t number = from / kBlock;
    if (Block* block = find_block(number)) {
      const std::uint64_t rest = block->used >> (from % kBlock);
      if (rest != 0) return from + static_cast<std::uint64_t>(std::countr_zero(rest));
    }
    const auto after = blocks_.upper_bound(number);
    if (after == blocks_.end()) return std::nullopt;
    return after->first * kBlock + static_cast<std::uint64_t>(std::countr_zero(after->second->used));
  }

  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  static constexpr std::uint64_t kBlock = 64;
  struct Block {
    std::uint64_t used = 0;  // a bit per element
    std::array<T, kBlock> values{};
  };

  Block* find_block(std::uint64_t number) {
    if (last_ != nullptr && last_number_ == number) return last_;
    const auto found = blocks_.find(number);
    if (found == blocks_.end()) return nullptr;
    last_number_ = number;
    last_ = found->second.get();
    return last_;
  }

  std::map<std::uint64_t, std::unique_ptr<Block>> blocks_;
  std::uint64_t last_number_ = 0;  // neighbours are used together: the block found last
  Block* last_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace millrace
