// Which directory each watch stands for. Folders are named as keys are: "" is the bucket itself, "a/b/" one below it.
//
// About 200 bytes a folder. Functions that take folders out return their watches, for the caller to remove.
// Threads: the domain loop.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace millrace {

class WatchTree {
 public:
  struct Place {
    std::string bucket;
    std::string folder;
  };

  // `watch` stands for that folder from now on. A folder it stood for before was moved here; a watch that stood for the
  // folder before is returned: another directory has its name now. `round` is the walk that found it.
  [[nodiscard]] std::vector<int> put(int watch, const Place& place, std::uint64_t round);

  [[nodiscard]] const Place* find(int watch) const;
  [[nodiscard]] bool has(const Place& place) const;
  void forget(int watch);

  [[nodiscard]] std::vector<int> take_from(const Place& place);                               // and all below it
  [[nodiscard]] std::vector<int> take_older(const std::string& bucket, std::uint64_t round);  // not found since
  [[nodiscard]] std::vector<int> take_if(const std::string& bucket,
                                         const std::function<bool(std::string_view folder)>& unwanted);

  [[nodiscard]] std::size_t size() const { return by_watch_.size(); }

 private:
  struct Entry {
    int watch;
    std::uint64_t round;
  };
  using Folders = std::map<std::string, Entry, std::less<>>;

  std::map<std::string, Folders> buckets_;
  std::unordered_map<int, Place> by_watch_;
};

}  // namespace millrace
