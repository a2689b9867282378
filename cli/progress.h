// A progress bar on stderr, on a terminal only; silent otherwise.
#pragma once

#include <cstdint>
#include <string>

namespace millrace::cli {

class Progress {
 public:
  explicit Progress(std::string what);
  ~Progress();  // takes the bar away
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(std::uint64_t done, std::uint64_t total);

 private:
  std::string what_;
  bool shown_ = false;
  bool terminal_;
  int last_percent_ = -1;
};

}  // namespace millrace::cli
