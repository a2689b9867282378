#include "broker/dedupe_window.h"

namespace millrace {

const DedupeWindow::Entry* DedupeWindow::find(const IdDigest& id, EventLoop::TimePoint now) {
  forget_expired(now);
  const auto found = entries_.find(id);
  // Behind an entry with a longer window one may have run out unnoticed.
  return found == entries_.end() || found->second.until <= now ? nullptr : &found->second;
}

void DedupeWindow::add(const Entry& entry) {
  entries_.insert_or_assign(entry.id, entry);
  ages_.push_back({.id = entry.id, .until = entry.until});
  if (entry.epoch != 0) by_epoch_[entry.epoch].push_back(entry.id);
  while (ages_.size() > ids_max_) forget_oldest();
}

std::vector<DedupeWindow::Entry> DedupeWindow::take_from(std::uint32_t epoch, EventLoop::TimePoint now,
                                                         std::size_t limit) {
  std::vector<Entry> taken;
  while (!by_epoch_.empty() && by_epoch_.begin()->first <= epoch && taken.size() < limit) {
    auto& ids = by_epoch_.begin()->second;
    while (!ids.empty() && taken.size() < limit) {
      const auto found = entries_.find(ids.front());
      ids.pop_front();
      if (found != entries_.end() && found->second.epoch <= epoch && found->second.until > now) {
        taken.push_back(found->second);
      }
    }
    if (ids.empty()) by_epoch_.erase(by_epoch_.begin());
  }
  return taken;
}

void DedupeWindow::forget_oldest() {
  const auto& age = ages_.front();
  const auto found = entries_.find(age.id);
  if (found != entries_.end() && found->second.until == age.until) entries_.erase(found);  // not one that came later
  ages_.pop_front();
}

void DedupeWindow::forget_expired(EventLoop::TimePoint now) {
  while (!ages_.empty() && ages_.front().until <= now) forget_oldest();
}

}  // namespace millrace
