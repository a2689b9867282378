// Walks down the folders of a bucket, watching each one before it looks inside: what appears meanwhile is either found
// or notified, or both. Below the bucket no link is followed, and our own `.millrace/` is never entered.
//
// Threads: step() blocks and belongs on a thread of the pool, one call at a time.
#pragma once

#include <dirent.h>

#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/fd.h"
#include "producers/watch_source.h"

namespace millrace {

// True when something in `folder` or below it, or `folder` being made, matters to one of `wanted` (folders with a
// trailing '/', "" for the whole bucket).
[[nodiscard]] bool concerns(const std::vector<std::string>& wanted, std::string_view folder);

struct WalkStep {
  std::vector<std::pair<int, std::string>> watched;    // watch, folder
  std::vector<std::string> files;                      // keys of regular files in folders watched by now
  std::vector<std::pair<std::string, Error>> refused;  // folder, why it is not watched
  bool done = false;
};

class FolderWalk {
 public:
  // `root`: absolute path of the bucket. `wanted`: only folders that concern these. `start`: where to begin.
  FolderWalk(std::shared_ptr<WatchSource> source, std::string root, std::vector<std::string> wanted,
             std::deque<std::string> start);

  // Goes on for about a thousand entries. A folder that is gone is no error, unless it is the bucket.
  [[nodiscard]] WalkStep step();

 private:
  struct CloseDirectory {
    void operator()(DIR* directory) const { ::closedir(directory); }
  };

  void enter(std::string folder, WalkStep& step);
  [[nodiscard]] Result<Fd> open(const std::string& folder);
  void look_at(const dirent& entry, WalkStep& step);

  std::shared_ptr<WatchSource> source_;  // shared: a step may outlive the task that waits for it
  std::string root_;
  std::vector<std::string> wanted_;
  std::deque<std::string> folders_;
  Fd bucket_;
  std::string folder_;  // the one being read
  std::unique_ptr<DIR, CloseDirectory> reading_;
};

}  // namespace millrace
