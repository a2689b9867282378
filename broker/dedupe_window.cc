#include "broker/dedupe_window.h"

#include <algorithm>

namespace millrace {
namespace {

constexpr std::size_t kPlacesMin = 16;

}  // namespace

std::optional<std::uint32_t> DedupeWindow::find(const IdDigest& id, EventLoop::TimePoint now) {
  if (!queue_) return std::nullopt;
  forget_expired(now);
  if (places_.empty()) return std::nullopt;
  const std::size_t place = place_of(id);
  if (places_[place] == 0) return std::nullopt;
  const Slot& found = slot(number_at(place));
  // Behind an entry with a longer window one may have run out unnoticed.
  if (found.until <= now.time_since_epoch().count()) return std::nullopt;
  return found.content;
}

void DedupeWindow::add(const Entry& entry) {
  if (!queue_) queue_ = std::make_unique<Queue>();
  // Never fuller than three quarters: a search that fails ends soon.
  if (4 * (ids_ + 1) > 3 * places_.size()) resize_places(std::max(kPlacesMin, 2 * places_.size()));
  Queue& queue = *queue_;
  const std::uint64_t number = queue.first + queue.slots.size();
  if (queue.epochs.empty() || queue.epochs.back().first < entry.epoch) queue.epochs.emplace_back(entry.epoch, number);
  queue.slots.push_back({.id_low = entry.id.low,
                         .id_high = entry.id.high,
                         .content = entry.content,
                         .until = entry.until.time_since_epoch().count()});
  std::uint32_t& place = places_[place_of(entry.id)];
  if (place == 0) ++ids_;
  place = static_cast<std::uint32_t>(number) + 1;
  while (ids_ > ids_max_ || queue.slots.size() > 2 * ids_max_) forget_oldest();
}

std::vector<DedupeWindow::Entry> DedupeWindow::take_from(std::uint32_t epoch, EventLoop::TimePoint now,
                                                         std::size_t limit) {
  std::vector<Entry> taken;
  if (!queue_) return taken;
  Queue& queue = *queue_;
  queue.taken = std::max(queue.taken, queue.first);
  std::uint64_t end = queue.first + queue.slots.size();
  for (const auto& [each, number] : queue.epochs) {
    if (each > epoch) end = std::min(end, number);
  }
  for (; queue.taken < end && taken.size() < limit; ++queue.taken) {
    const Slot& found = slot(queue.taken);
    if (found.until <= now.time_since_epoch().count() || !is_current(queue.taken)) continue;
    taken.push_back({.id = found.id(),
                     .content = found.content,
                     .epoch = epoch,
                     .until = EventLoop::TimePoint(EventLoop::Duration(found.until))});
  }
  return taken;
}

std::uint64_t DedupeWindow::number_at(std::size_t place) const {
  // All numbers lie within 2^32 of the first.
  const auto low = places_[place] - 1;
  return queue_->first + static_cast<std::uint32_t>(low - static_cast<std::uint32_t>(queue_->first));
}

// Where the id stands, or the free place where it would.
std::size_t DedupeWindow::place_of(const IdDigest& id) {
  const std::size_t mask = places_.size() - 1;
  std::size_t place = id.low & mask;
  while (places_[place] != 0 && slot(number_at(place)).id() != id) place = (place + 1) & mask;
  return place;
}

// False when the same id was added again later.
bool DedupeWindow::is_current(std::uint64_t number) {
  const std::size_t place = place_of(slot(number).id());
  return places_[place] != 0 && number_at(place) == number;
}

void DedupeWindow::forget_oldest() {
  Queue& queue = *queue_;
  const std::size_t place = place_of(queue.slots.front().id());
  if (places_[place] != 0 && number_at(place) == queue.first) erase_place(place);
  queue.slots.pop_front();
  ++queue.first;
  while (queue.epochs.size() > 1 && queue.epochs[1].second <= queue.first) queue.epochs.pop_front();
  constexpr std::size_t kSparse = 16;  // a flood's memory goes with the flood
  if (places_.size() > kPlacesMin && kSparse * ids_ < places_.size()) resize_places(places_.size() / 4);
}

void DedupeWindow::forget_expired(EventLoop::TimePoint now) {
  const std::int64_t time = now.time_since_epoch().count();
  while (!queue_->slots.empty() && queue_->slots.front().until <= time) forget_oldest();
}

// What stands behind it and would rather stand here moves up, so that no search ends too soon.
void DedupeWindow::erase_place(std::size_t place) {
  const std::size_t mask = places_.size() - 1;
  std::size_t hole = place;
  for (std::size_t each = (place + 1) & mask; places_[each] != 0; each = (each + 1) & mask) {
    const std::size_t home = slot(number_at(each)).id_low & mask;
    if (((each - home) & mask) < ((each - hole) & mask)) continue;
    places_[hole] = places_[each];
    hole = each;
  }
  places_[hole] = 0;
  --ids_;
}

void DedupeWindow::resize_places(std::size_t count) {
  count = std::max(count, kPlacesMin);
  const auto before = std::exchange(places_, std::vector<std::uint32_t>(count));
  for (const std::uint32_t number : before) {
    if (number == 0) continue;
    const std::uint32_t offset = number - 1 - static_cast<std::uint32_t>(queue_->first);
    std::size_t place = queue_->slots[offset].id_low & (count - 1);
    while (places_[place] != 0) place = (place + 1) & (count - 1);
    places_[place] = number;
  }
}

}  // namespace millrace
