// Starts a program in a container by the launcher alone, for bench/load/event.py: a command a line on stdin, its answer
// a line on stdout.
//
//   start COUNT     for each start the seconds from the request to the program's first instruction
//
// The first argument is the program (bench/event/stamp.cc), as a path that the container sees.
#include <exception>
#include <iostream>
#include <sstream>
#include <stdexcept>

#include "bench/launcher_peer.h"

namespace millrace::bench {
namespace {

using launcher::Peer;

std::int64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

class Starts {
 public:
  explicit Starts(const std::string& program) : request_(launcher::request_for(Peer::kContainer, program)) {}

  double start() {
    std::array<int, 2> ends{-1, -1};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    const Fd reader(ends[0]);
    Fd writer(ends[1]);
    const std::int64_t asked = now_ns();
    peer_.run(request_, {null_.get(), writer.get(), null_.get()});
    writer.reset();
    std::array<char, 32> text{};
    const auto bytes = ::read(reader.get(), text.data(), text.size() - 1);
    if (bytes <= 0) throw std::runtime_error("the program has printed nothing");
    return static_cast<double>(std::stoll(text.data()) - asked) / 1e9;
  }

 private:
  Fd null_{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  launcher::Spawn request_;
  Peer peer_;
};

void answer(Starts& starts, const std::string& line) {
  std::istringstream words(line);
  std::string command;
  int count = 0;
  words >> command >> count;
  if (command != "start" || count < 1) throw std::runtime_error("unknown command: " + line);
  for (int i = 0; i < count; ++i) std::cout << (i == 0 ? "" : " ") << starts.start();
  std::cout << "\n" << std::flush;
}

}  // namespace
}  // namespace millrace::bench

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: event_rounds PROGRAM\n";
    return 2;
  }
  try {
    millrace::bench::Starts starts(argv[1]);
    for (std::string line; std::getline(std::cin, line);) millrace::bench::answer(starts, line);
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "event_rounds: " << error.what() << "\n";
    return 1;
  }
}
