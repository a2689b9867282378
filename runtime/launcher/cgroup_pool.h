// Groups that wait for their next run, last in first out, and those that wait for being made as good as new.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "core/error.h"
#include "runtime/launcher/cgroup.h"

namespace millrace::launcher {

inline constexpr std::size_t kIdleGroupsMax = 64;
inline constexpr std::size_t kReturnedGroupsMax = 4;  // waiting for their reset
inline constexpr std::size_t kFreshGroupsMax = 16;    // made ahead where groups serve one run only
inline constexpr std::size_t kLaterGroupsMax = 64;
// Page cache that stays in a reused group, and is subtracted from its peak. A group that holds more is removed, which
// leaves the pages in the cache. Emptying it (memory.force_empty) would throw them out: the libraries of a function
// would be read from the disk again by every run (13 GB in 35 s, where the same runs take 17 s with their pages kept).
inline constexpr std::uint64_t kResidueBytesMax = 1024 * 1024;
inline constexpr int kSweepPatienceMs = 2000;

// What became of a group that was to be made as good as new.
enum class Fate : std::uint8_t {
  reuse,
  remove,
  later,  // it is of no more use, and should be removed only after the kernel has written what it holds
};

// G is a Group with Result<void> apply(const Limits&), Fate reset() and void remove().
template <class G>
class GroupPool {
 public:
  using Make = std::function<Result<std::unique_ptr<G>>()>;
  explicit GroupPool(Make make) : make_(std::move(make)) {}

  void add(std::unique_ptr<G> clean) { clean_.push_back(std::move(clean)); }

  // Each group that is thrown away is followed by a new one, off the hot path.
  void replace_used(bool replace) { replace_used_ = replace; }

  [[nodiscard]] Result<std::unique_ptr<Group>> acquire(const Limits& limits) {
    // Rather one more group than a reset now: in a row of short runs two then take turns.
    if (clean_.empty() && returned_.size() >= kReturnedGroupsMax) tidy();
    auto group = take();
    if (!group) return fail(group.error());
    if (auto applied = (*group)->apply(limits); !applied) {
      (*group)->remove();
      return fail(applied.error());
    }
    return std::unique_ptr<Group>(std::move(*group));
  }

  void release(std::unique_ptr<Group> group) { returned_.emplace_back(static_cast<G*>(group.release())); }

  // One group; false if none is left to be looked after.
  bool tidy() {
    if (returned_.empty()) return false;
    auto group = std::move(returned_.back());
    returned_.pop_back();
    const Fate fate = group->reset();
    if (fate == Fate::reuse && clean_.size() < kIdleGroupsMax) {
      clean_.push_back(std::move(group));
      return !returned_.empty();
    }
    if (fate == Fate::later) {
      later_.push_back(std::move(group));
      if (later_.size() > kLaterGroupsMax) remove_oldest();
    } else {
      group->remove();
    }
    if (replace_used_ && clean_.size() < kFreshGroupsMax) {
      if (auto fresh = make_()) clean_.push_back(std::move(*fresh));
    }
    return !returned_.empty();
  }

  void clear() {
    clean_.clear();
    returned_.clear();
    later_.clear();
  }

 private:
  void remove_oldest() {
    static_cast<void>(later_.front()->reset());
    later_.front()->remove();
    later_.pop_front();
  }

  [[nodiscard]] Result<std::unique_ptr<G>> take() {
    if (clean_.empty()) return make_();
    auto group = std::move(clean_.back());
    clean_.pop_back();
    return group;
  }

  Make make_;
  bool replace_used_ = false;
  std::vector<std::unique_ptr<G>> clean_;     // a stack
  std::vector<std::unique_ptr<G>> returned_;  // to be reset
  std::deque<std::unique_ptr<G>> later_;      // to be removed
};

}  // namespace millrace::launcher
