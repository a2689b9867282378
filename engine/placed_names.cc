#include "engine/placed_names.h"

namespace millrace {

void PlacedNames::remember(const std::string& bucket, const std::string& key, const ObjectVersion& version) {
  const auto [entry, added] = versions_.insert_or_assign({bucket, key}, version);
  if (!added) return;
  by_age_.push_back(entry->first);
  if (by_age_.size() <= names_max_) return;
  versions_.erase(by_age_.front());
  by_age_.pop_front();
}

std::optional<ObjectVersion> PlacedNames::find(const std::string& bucket, const std::string& key) const {
  const auto entry = versions_.find({bucket, key});
  if (entry == versions_.end()) return std::nullopt;
  return entry->second;
}

}  // namespace millrace
