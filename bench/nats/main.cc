// Runs rounds against a nats-server for bench/load/nats.py: a command a line on stdin, its answer a line on stdout.
//
//   run millrace|raw|unconfirmed publish|consume|both|begin WINDOW MESSAGES    seconds
//   records NUMBER        seconds for what `begin` writes, by the bare client
//   lag RATE SECONDS      p99 of the loop's lag in ms, messages a second
//   idle TOPICS SECONDS   percent of a core
//
// The argument is the server's URL.
#include <chrono>
#include <exception>
#include <iostream>
#include <map>
#include <sstream>
#include <stdexcept>

#include "bench/nats/rounds.h"

namespace millrace::bench {
namespace {

using Clock = std::chrono::steady_clock;

class Rounds {
 public:
  explicit Rounds(std::string url) : url_(std::move(url)) {}

  void answer(const std::string& line) {
    std::istringstream words(line);
    std::string command;
    words >> command;
    if (command == "run") {
      std::string kind;
      std::string what;
      std::uint64_t window = 0;
      std::uint64_t messages = 0;
      words >> kind >> what >> window >> messages;
      run(client_of(kind), what, window, messages);
    } else if (command == "records") {
      std::uint64_t records = 0;
      words >> records;
      std::cout << put_records(url_, records) << "\n" << std::flush;
    } else if (command == "lag") {
      std::uint64_t rate = 0;
      double seconds = 0;
      words >> rate >> seconds;
      const LoopLag lag = loop_lag(url_, rate, seconds);
      std::cout << lag.p99_ms << " " << lag.per_second << "\n" << std::flush;
    } else if (command == "idle") {
      std::uint64_t topics = 0;
      double seconds = 0;
      words >> topics >> seconds;
      std::cout << idle_topics(url_, topics, seconds) << "\n" << std::flush;
    } else {
      throw std::runtime_error("unknown command: " + line);
    }
  }

 private:
  static void run(Client& client, const std::string& what, std::uint64_t window, std::uint64_t messages) {
    if (what == "consume" || what == "begin") client.publish(256, messages);
    const auto start = Clock::now();
    if (what == "publish") {
      client.publish(window, messages);
    } else if (what == "consume") {
      client.consume(window, messages);
    } else if (what == "both") {
      client.both(window, messages);
    } else if (what == "begin") {
      client.begin(messages);
    } else {
      throw std::runtime_error("unknown work: " + what);
    }
    std::cout << std::chrono::duration<double>(Clock::now() - start).count() << "\n" << std::flush;
    if (what == "publish") client.consume(256, messages);
  }

  Client& client_of(const std::string& kind) {
    auto& client = clients_[kind];
    if (client) return *client;
    if (kind == "millrace") client = make_millrace(url_);
    if (kind == "raw") client = make_raw(url_, true);
    if (kind == "unconfirmed") client = make_raw(url_, false);
    if (!client) throw std::runtime_error("unknown client: " + kind);
    return *client;
  }

  std::string url_;
  std::map<std::string, std::unique_ptr<Client>> clients_;
};

}  // namespace
}  // namespace millrace::bench

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: nats_rounds URL\n";
    return 2;
  }
  try {
    millrace::bench::Rounds rounds(argv[1]);
    for (std::string line; std::getline(std::cin, line);) rounds.answer(line);
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "nats_rounds: " << error.what() << "\n";
    return 1;
  }
}
