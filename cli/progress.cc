#include "cli/progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

#include "cli/table.h"

namespace millrace::cli {
namespace {

constexpr int kBarCells = 30;

}  // namespace

Progress::Progress(std::string what) : what_(std::move(what)), terminal_(isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (shown_) fmt::print(stderr, "\r\033[K");
}

void Progress::update(std::uint64_t done, std::uint64_t total) {
  if (!terminal_ || total == 0) return;
  const int percent = static_cast<int>(done * 100 / total);
  if (percent == last_percent_) return;
  last_percent_ = percent;
  shown_ = true;
  const int full = percent * kBarCells / 100;
  fmt::print(stderr, "\r\033[K{} [{}{}] {}% of {}", what_, std::string(static_cast<std::size_t>(full), '#'),
             std::string(static_cast<std::size_t>(kBarCells - full), '.'), percent, human_bytes(total));
  (void)std::fflush(stderr);
}

}  // namespace millrace::cli
