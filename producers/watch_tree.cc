#include "producers/watch_tree.h"

namespace millrace {

std::vector<int> WatchTree::put(int watch, const Place& place, std::uint64_t round) {
  std::vector<int> replaced;
  const auto known = by_watch_.find(watch);
  if (known != by_watch_.end()) buckets_[known->second.bucket].erase(known->second.folder);
  Folders& folders = buckets_[place.bucket];
  const auto standing = folders.find(place.folder);
  if (standing != folders.end()) {
    replaced.push_back(standing->second.watch);
    by_watch_.erase(standing->second.watch);
  }
  folders.insert_or_assign(place.folder, Entry{.watch = watch, .round = round});
  by_watch_.insert_or_assign(watch, place);
  return replaced;
}

const WatchTree::Place* WatchTree::find(int watch) const {
  const auto found = by_watch_.find(watch);
  return found == by_watch_.end() ? nullptr : &found->second;
}

bool WatchTree::has(const Place& place) const {
  const auto bucket = buckets_.find(place.bucket);
  return bucket != buckets_.end() && bucket->second.contains(place.folder);
}

void WatchTree::forget(int watch) {
  const auto found = by_watch_.find(watch);
  if (found == by_watch_.end()) return;
  buckets_[found->second.bucket].erase(found->second.folder);
  by_watch_.erase(found);
}

std::vector<int> WatchTree::take_from(const Place& place) {
  std::vector<int> taken;
  const auto bucket = buckets_.find(place.bucket);
  if (bucket == buckets_.end()) return taken;
  auto folder = bucket->second.lower_bound(place.folder);
  while (folder != bucket->second.end() && folder->first.starts_with(place.folder)) {
    taken.push_back(folder->second.watch);
    by_watch_.erase(folder->second.watch);
    folder = bucket->second.erase(folder);
  }
  return taken;
}

std::vector<int> WatchTree::take_older(const std::string& bucket, std::uint64_t round) {
  std::vector<int> taken;
  std::erase_if(buckets_[bucket], [&](const auto& folder) {
    if (folder.second.round >= round) return false;
    taken.push_back(folder.second.watch);
    by_watch_.erase(folder.second.watch);
    return true;
  });
  return taken;
}

std::vector<int> WatchTree::take_if(const std::string& bucket,
                                    const std::function<bool(std::string_view folder)>& unwanted) {
  std::vector<int> taken;
  std::erase_if(buckets_[bucket], [&](const auto& folder) {
    if (!unwanted(folder.first)) return false;
    taken.push_back(folder.second.watch);
    by_watch_.erase(folder.second.watch);
    return true;
  });
  return taken;
}

}  // namespace millrace
