// Runs rounds of durable queues for bench/load/log.py: a command a line on stdin, its answer a line on stdout.
//
//   run millrace|raw|sqlite|lmdb WINDOW MESSAGES    seconds; SQLite and LMDB commit WINDOW messages at once
//   tail WINDOW SECONDS                             p50 and p99 of publish to ack, in microseconds
//   fill MESSAGES / recover MESSAGES / checksum     a log of unread messages; seconds to open it, to read it
//   idle TOPICS SECONDS                             percent of a core
//
// The first argument is an empty directory.
#include <algorithm>
#include <chrono>
#include <exception>
#include <filesystem>
#include <iostream>
#include <map>
#include <sstream>

#include "bench/log/queues.h"

namespace millrace::bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

class Rounds {
 public:
  explicit Rounds(std::filesystem::path directory) : directory_(std::move(directory)) {}

  void answer(const std::string& line) {
    std::istringstream words(line);
    std::string command;
    words >> command;
    if (command == "run") {
      std::string kind;
      std::uint64_t window = 0;
      std::uint64_t messages = 0;
      words >> kind >> window >> messages;
      Queue& queue = queue_of(kind);
      const auto start = Clock::now();
      queue.run(window, messages, nullptr);
      std::cout << seconds_since(start) << "\n" << std::flush;
    } else if (command == "tail") {
      std::uint64_t window = 0;
      double seconds = 0;
      words >> window >> seconds;
      tail(window, seconds);
    } else if (command == "fill") {
      std::uint64_t messages = 0;
      words >> messages;
      fill_log(filled(), messages);
      std::cout << "ok" << "\n" << std::flush;
    } else if (command == "recover") {
      std::uint64_t messages = 0;
      words >> messages;
      std::cout << open_log(filled(), messages) << "\n" << std::flush;
    } else if (command == "checksum") {
      std::cout << checksum_files(filled()) << "\n" << std::flush;
    } else if (command == "idle") {
      std::uint64_t topics = 0;
      double seconds = 0;
      words >> topics >> seconds;
      std::cout << idle_topics(directory_ / "idle", topics, seconds) << "\n" << std::flush;
    } else {
      throw std::runtime_error("unknown command: " + line);
    }
  }

 private:
  std::filesystem::path filled() const { return directory_ / "filled"; }

  Queue& queue_of(const std::string& kind) {
    auto& queue = queues_[kind];
    if (queue) return *queue;
    if (kind == "millrace") queue = make_millrace(directory_ / "millrace");
    if (kind == "raw") queue = make_raw(directory_);
    if (kind == "sqlite") queue = make_sqlite(directory_);
    if (kind == "lmdb") queue = make_lmdb(directory_);
    if (!queue) throw std::runtime_error("unknown queue: " + kind);
    return *queue;
  }

  void tail(std::uint64_t window, double seconds) {
    constexpr std::uint64_t kStep = 50'000;
    std::vector<double> latencies_us;
    const auto start = Clock::now();
    while (seconds_since(start) < seconds) queue_of("millrace").run(window, kStep, &latencies_us);
    std::ranges::sort(latencies_us);
    std::cout << latencies_us[latencies_us.size() / 2] << " " << latencies_us[latencies_us.size() * 99 / 100] << "\n"
              << std::flush;
  }

  std::filesystem::path directory_;
  std::map<std::string, std::unique_ptr<Queue>> queues_;
};

}  // namespace
}  // namespace millrace::bench

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: log_rounds DIRECTORY\n";
    return 2;
  }
  try {
    millrace::bench::Rounds rounds(argv[1]);
    for (std::string line; std::getline(std::cin, line);) rounds.answer(line);
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "log_rounds: " << error.what() << "\n";
    return 1;
  }
}
