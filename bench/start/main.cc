// Starts programs for bench/load/start.py, in our containers or plainly: a command a line on stdin, its answer a line
// on stdout.
//
//   pid                                  of the launcher
//   command NAME WORD...                 a program to start plainly from now on; {} in a word is the start's number
//   run NAME COUNT IN_FLIGHT PAUSE_MS    seconds of all starts together, then of each from its request until it is
//                                        reaped; NAME `ours` is the container of the launcher, `copy` the same with
//                                        a copy-on-write root over DIRECTORY/root, which holds the program /nothing
//   hold COUNT / release                 that many containers wait / end
//
// The arguments are the program that containers start, as a path that they see, and a directory for an input file and
// an output directory.
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <exception>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "bench/launcher_peer.h"

extern char** environ;  // NOLINT: POSIX declares it nowhere

namespace millrace::bench {
namespace {

using launcher::Peer;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// What can be started again and again, several at a time.
class Starter {
 public:
  Starter() = default;
  Starter(const Starter&) = delete;
  Starter& operator=(const Starter&) = delete;
  virtual ~Starter() = default;
  virtual std::uint64_t start() = 0;  // its number among those that have not ended
  virtual std::uint64_t reap() = 0;   // of one that has ended
};

// Limits and seccomp on, one input file, one output directory.
class Containers final : public Starter {
 public:
  Containers(Peer& peer, std::uint32_t template_id, const std::string& program, const std::string& directory)
      : peer_(peer), request_(launcher::request_for(template_id, program)) {
    const std::string input = directory + "/input-" + std::to_string(template_id);
    const std::string output = directory + "/output-" + std::to_string(template_id);
    std::ofstream(input) << "input";
    if (::mkdir(output.c_str(), 0700) != 0) throw std::runtime_error("no " + output);
    if (::chown(input.c_str(), launcher::kDaemonUid, launcher::kDaemonUid) != 0 ||
        ::chown(output.c_str(), launcher::kDaemonUid, launcher::kDaemonUid) != 0) {
      throw std::runtime_error("cannot give files away: not root?");
    }
    input_ = Fd(::open(input.c_str(), O_RDONLY | O_CLOEXEC));
    output_ = Fd(::open(output.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    request_.output = true;
    request_.inputs = {{.name = "input"}};
  }

  std::uint64_t start() override {
    return peer_.ask(request_, {null_.get(), null_.get(), null_.get(), output_.get(), input_.get()});
  }
  std::uint64_t reap() override {
    const auto exited = peer_.await_exited();
    if (exited.how != launcher::Ending::code || exited.value != 0) throw std::runtime_error("a container has failed");
    return exited.run;
  }

 private:
  Peer& peer_;
  launcher::Spawn request_;
  Fd null_{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  Fd input_;
  Fd output_;
};

class Plain final : public Starter {
 public:
  explicit Plain(std::vector<std::string> words) : words_(std::move(words)) {}

  std::uint64_t start() override {
    std::vector<std::string> words = words_;
    ++started_;
    for (auto& word : words) {
      if (const auto at = word.find("{}"); at != std::string::npos) word.replace(at, 2, std::to_string(started_));
    }
    std::vector<char*> arguments;
    arguments.reserve(words.size() + 1);
    for (auto& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    pid_t pid = -1;
    if (::posix_spawnp(&pid, arguments[0], &files_.actions, nullptr, arguments.data(), environ) != 0) {
      throw std::runtime_error("cannot start " + words[0]);
    }
    return static_cast<std::uint64_t>(pid);
  }
  std::uint64_t reap() override {
    int status = 0;
    pid_t pid = -1;
    do {
      pid = ::waitpid(-1, &status, 0);
    } while (pid > 0 && !WIFEXITED(status) && !WIFSIGNALED(status));
    if (pid < 0 || status != 0) throw std::runtime_error(words_[0] + " has failed");
    return static_cast<std::uint64_t>(pid);
  }

 private:
  // Their output would be taken for ours.
  struct Files {
    Files() {
      posix_spawn_file_actions_init(&actions);
      posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
      posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    }
    Files(const Files&) = delete;
    Files& operator=(const Files&) = delete;
    ~Files() { posix_spawn_file_actions_destroy(&actions); }
    posix_spawn_file_actions_t actions{};
  };

  std::vector<std::string> words_;
  Files files_;
  int started_ = 0;
};

void run(Starter& starter, int count, int in_flight, std::chrono::milliseconds pause) {
  std::map<std::uint64_t, Clock::time_point> running;
  std::vector<double> times;
  const auto begin = Clock::now();
  for (int started = 0; started < count || !running.empty();) {
    if (started < count && static_cast<int>(running.size()) < in_flight) {
      if (started > 0) std::this_thread::sleep_for(pause);
      const auto asked = Clock::now();
      running.emplace(starter.start(), asked);
      ++started;
    } else {
      const auto ended = running.find(starter.reap());
      if (ended == running.end()) throw std::runtime_error("something else has ended");
      times.push_back(seconds_since(ended->second));
      running.erase(ended);
    }
  }
  std::cout << seconds_since(begin);
  for (const double time : times) std::cout << " " << time;
}

class Held {
 public:
  Held(Peer& peer, const std::string& program)
      : peer_(peer), request_(launcher::request_for(Peer::kContainer, program)) {
    request_.program = launcher::pack_program({program, "wait"}, {}).value_or("");
  }

  void hold(int count) {
    std::array<int, 2> ends{-1, -1};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    const Fd reader(ends[0]);
    writer_ = Fd(ends[1]);
    for (; held_ < count; ++held_) {
      peer_.ask(request_, {reader.get(), null_.get(), null_.get()});
      peer_.await_started();
    }
  }
  void release() {
    writer_.reset();
    for (; held_ > 0; --held_) peer_.await_exited();
  }

 private:
  Peer& peer_;
  launcher::Spawn request_;
  Fd null_{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  Fd writer_;
  int held_ = 0;
};

// The launcher, which a process that only starts programs plainly does without.
struct Ours {
  Ours(const std::string& program, const std::string& directory)
      : peer(directory), containers(peer, Peer::kContainer, program, directory), held(peer, program) {}

  Peer peer;
  Containers containers;
  std::unique_ptr<Containers> copies;
  Held held;
};

class Rounds {
 public:
  Rounds(std::string program, std::string directory) : program_(std::move(program)), directory_(std::move(directory)) {}

  void answer(const std::string& line) {
    std::istringstream words(line);
    std::string command;
    std::string name;
    int count = 0;
    words >> command;
    if (command == "pid") {
      std::cout << ours().peer.pid();
    } else if (command == "command" && words >> name) {
      std::vector<std::string> arguments;
      for (std::string word; words >> word;) arguments.push_back(word);
      plain_[name] = std::make_unique<Plain>(std::move(arguments));
      std::cout << 0;
    } else if (int in_flight = 0, pause_ms = 0; command == "run" && words >> name >> count >> in_flight >> pause_ms) {
      run(starter(name), count, in_flight, std::chrono::milliseconds(pause_ms));
    } else if (command == "hold" && words >> count) {
      ours().held.hold(count);
      std::cout << count;
    } else if (command == "release") {
      ours().held.release();
      std::cout << 0;
    } else {
      throw std::runtime_error("unknown command: " + line);
    }
    std::cout << "\n" << std::flush;
  }

 private:
  Ours& ours() {
    if (!ours_) ours_ = std::make_unique<Ours>(program_, directory_);
    return *ours_;
  }
  Starter& starter(const std::string& name) {
    if (name == "ours") return ours().containers;
    if (name == "copy") {
      if (!ours().copies) {
        ours().peer.prepare_copy_on_write(directory_ + "/root");
        ours().copies = std::make_unique<Containers>(ours().peer, Peer::kCopyOnWrite, "/nothing", directory_);
      }
      return *ours().copies;
    }
    return *plain_.at(name);
  }

  std::string program_;
  std::string directory_;
  std::unique_ptr<Ours> ours_;
  std::map<std::string, std::unique_ptr<Plain>> plain_;
};

}  // namespace
}  // namespace millrace::bench

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: start_rounds PROGRAM DIRECTORY\n";
    return 2;
  }
  try {
    millrace::bench::Rounds rounds(argv[1], argv[2]);
    for (std::string line; std::getline(std::cin, line);) rounds.answer(line);
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "start_rounds: " << error.what() << "\n";
    return 1;
  }
}
