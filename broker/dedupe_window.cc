#include "broker/dedupe_window.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <limits>

namespace millrace {
namespace {

constexpr std::size_t kPlacesMin = 16;
constexpr std::uint32_t kUsed = 1U << 31;
// The end of the window of a slot whose id was added again: it is in no place any more.
constexpr std::int64_t kReplaced = std::numeric_limits<std::int64_t>::min();

}  // namespace

// Ids and what is left of those that were added again: twice as many slots at most, and one while adding.
DedupeWindow::DedupeWindow(std::size_t ids_max)
    : ids_max_(std::min(ids_max, kIdsMax)), number_bits_(static_cast<unsigned>(std::bit_width(2 * ids_max_ + 1))) {}

std::optional<std::uint32_t> DedupeWindow::find(const IdDigest& id, EventLoop::TimePoint now) {
  if (!queue_) return std::nullopt;
  forget_expired(now);
  if (places_.empty()) return std::nullopt;
  const std::uint32_t place = places_[find_place(id)];
  if (place == 0) return std::nullopt;
  const Slot& found = slot(number_in(place));
  // Behind an entry with a longer window one may have run out unnoticed.
  if (found.until <= now.time_since_epoch().count()) return std::nullopt;
  return found.content;
}

void DedupeWindow::add(const Entry& entry) {
  if (!queue_) queue_ = std::make_unique<Queue>();
  // Never fuller than three quarters: a search that fails ends soon.
  if (4 * (ids_ + 1) > 3 * places_.size()) resize_places(std::max(kPlacesMin, 2 * places_.size()));
  Queue& queue = *queue_;
  const std::uint64_t number = end();
  if (queue.slots.empty()) queue.runs.clear();
  if (queue.runs.empty() || queue.runs.back().epoch < entry.epoch) queue.runs.push_back({number, entry.epoch});
  std::uint32_t& place = places_[find_place(entry.id)];
  if (place == 0) {
    ++ids_;
  } else {
    slot(number_in(place)).until = kReplaced;
  }
  queue.slots.push_back({.id_low = entry.id.low,
                         .id_high = entry.id.high,
                         .content = entry.content,
                         .until = entry.until.time_since_epoch().count()});
  place = place_for(queue.slots.back(), number);
  while (ids_ > ids_max_ || queue.slots.size() > 2 * ids_max_) forget_oldest();
}

void DedupeWindow::clear() {
  queue_.reset();
  ids_ = 0;
  places_ = {};
}

std::vector<DedupeWindow::Entry> DedupeWindow::only_in(std::uint32_t epoch, EventLoop::TimePoint now,
                                                       std::size_t limit) {
  std::vector<Entry> given;
  if (!queue_) return given;
  Queue& queue = *queue_;
  while (given.empty()) {
    const auto run = std::ranges::find_if(queue.runs, [epoch](const Run& each) { return each.epoch <= epoch; });
    if (run == queue.runs.end()) break;
    const std::uint64_t run_end = std::next(run) == queue.runs.end() ? end() : std::next(run)->first;
    queue.given_from = queue.given_to = std::max(run->first, queue.first);
    for (; queue.given_to < run_end && given.size() < limit; ++queue.given_to) {
      const Slot& found = slot(queue.given_to);
      if (found.until <= now.time_since_epoch().count()) continue;
      given.push_back({.id = found.id(),
                       .content = found.content,
                       .epoch = epoch,
                       .until = EventLoop::TimePoint(EventLoop::Duration(found.until))});
    }
    if (given.empty()) moved(epoch + 1);  // nothing to remember: not looked at again
  }
  return given;
}

void DedupeWindow::moved(std::uint32_t epoch) {
  auto& runs = queue_->runs;
  const auto [from, to] = std::pair(queue_->given_from, queue_->given_to);
  auto run = std::prev(std::ranges::upper_bound(runs, from, {}, &Run::first));
  const bool last = std::next(run) == runs.end();
  if (to < (last ? end() : std::next(run)->first)) {
    run = std::prev(runs.insert(std::next(run), {to, run->epoch}));
  }
  run->epoch = epoch;
  if (const auto after = std::next(run); after != runs.end() && after->epoch == epoch)
    run = std::prev(runs.erase(after));
  if (run != runs.begin() && std::prev(run)->epoch == epoch) runs.erase(run);
}

std::uint32_t DedupeWindow::place_for(const Slot& slot, std::uint64_t number) const {
  const std::uint32_t number_mask = (1U << number_bits_) - 1;
  return kUsed | (slot.id_high & ~kUsed & ~number_mask) | (static_cast<std::uint32_t>(number) & number_mask);
}

std::uint64_t DedupeWindow::number_in(std::uint32_t place) const {
  const std::uint32_t number_mask = (1U << number_bits_) - 1;
  return queue_->first + ((place - static_cast<std::uint32_t>(queue_->first)) & number_mask);
}

// Where the id stands, or the free place where it would.
std::size_t DedupeWindow::find_place(const IdDigest& id) {
  const std::size_t mask = places_.size() - 1;
  const std::uint32_t said = (kUsed | id.high) >> number_bits_;
  std::size_t at = id.low & mask;
  while (places_[at] != 0 && (places_[at] >> number_bits_ != said || slot(number_in(places_[at])).id() != id)) {
    at = (at + 1) & mask;
  }
  return at;
}

void DedupeWindow::forget_oldest() {
  Queue& queue = *queue_;
  const Slot& oldest = queue.slots.front();
  if (oldest.until != kReplaced) {
    const std::uint32_t place = place_for(oldest, queue.first);
    std::size_t at = oldest.id_low & (places_.size() - 1);
    while (places_[at] != place) at = (at + 1) & (places_.size() - 1);
    erase_place(at);
  }
  queue.slots.pop_front();
  ++queue.first;
  while (queue.runs.size() > 1 && queue.runs[1].first <= queue.first) queue.runs.pop_front();
  constexpr std::size_t kSparse = 16;  // a flood's memory goes with the flood
  if (places_.size() > kPlacesMin && kSparse * ids_ < places_.size()) resize_places(places_.size() / 4);
}

void DedupeWindow::forget_expired(EventLoop::TimePoint now) {
  const std::int64_t time = now.time_since_epoch().count();
  while (!queue_->slots.empty() && queue_->slots.front().until <= time) forget_oldest();
}

// What stands behind it and would rather stand here moves up, so that no search ends too soon.
void DedupeWindow::erase_place(std::size_t at) {
  const std::size_t mask = places_.size() - 1;
  std::size_t hole = at;
  for (std::size_t each = (at + 1) & mask; places_[each] != 0; each = (each + 1) & mask) {
    const std::size_t home = slot(number_in(places_[each])).id_low & mask;
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
  for (const std::uint32_t place : before) {
    if (place == 0) continue;
    std::size_t at = slot(number_in(place)).id_low & (count - 1);
    while (places_[at] != 0) at = (at + 1) & (count - 1);
    places_[at] = place;
  }
}

}  // namespace millrace
