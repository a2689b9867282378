// The names that runs of this process were given lately, and which file each was given: a notification about one of
// these needs no look at marks and rows. What is not remembered here is found out by those.
//
// Threads: the domain loop.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "core/event.h"

namespace millrace {

class PlacedNames {
 public:
  explicit PlacedNames(std::size_t names_max = 4096) : names_max_(names_max) {}

  // Beyond `names_max` the oldest is forgotten. Call it before the file appears.
  void remember(const std::string& bucket, const std::string& key, const ObjectVersion& version);
  [[nodiscard]] std::optional<ObjectVersion> find(const std::string& bucket, const std::string& key) const;

 private:
  using Name = std::pair<std::string, std::string>;

  std::size_t names_max_;
  std::map<Name, ObjectVersion> versions_;
  std::deque<Name> by_age_;
};

}  // namespace millrace
