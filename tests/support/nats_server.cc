#include "tests/support/nats_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>
#include <thread>

#include "core/fd.h"

namespace millrace::test {
namespace {

constexpr std::chrono::seconds kReadyTimeout{30};  // a hang guard
constexpr std::chrono::milliseconds kPoll{5};

[[noreturn]] void die(const std::string& why) {
  std::fprintf(stderr, "nats-server: %s\n", why.c_str());
  std::abort();
}

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  return address;
}

// One that was free a moment ago. Below those that the kernel gives to connections, one of which might have it while
// the server is killed.
int free_port() {
  std::random_device random;
  std::uniform_int_distribution<int> pick(10'000, 19'999);
  for (int tries = 0; tries < 100; ++tries) {
    const int port = pick(random);
    const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto address = loopback(port);
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the socket interface wants it
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return port;
  }
  die("no free port");
}

// The first bytes of what an HTTP server answers; empty when there is none.
std::string get(int port, const std::string& path) {
  const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto address = loopback(port);
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the socket interface wants it
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
  const std::string request = "GET " + path + " HTTP/1.0\r\n\r\n";
  if (::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) return {};
  std::string answer;
  std::array<char, 4096> piece{};
  for (ssize_t n = 0; (n = ::recv(socket.get(), piece.data(), piece.size(), 0)) > 0;) {
    answer.append(piece.data(), static_cast<std::size_t>(n));
  }
  return answer;
}

}  // namespace

NatsServer::NatsServer() {
  const char* program = std::getenv("MILLRACE_NATS_SERVER");
  if (program == nullptr || ::access(program, X_OK) != 0) {
    die("MILLRACE_NATS_SERVER names no program; say MILLRACE_NATS_SERVER=$(scripts/fetch_nats_server)");
  }
  program_ = program;
  port_ = free_port();
  monitor_port_ = free_port();
  start();
}

NatsServer::~NatsServer() {
  kill();
}

void NatsServer::write_config() const {
  std::ofstream config(directory_ / "nats.conf");
  config << "listen: \"127.0.0.1:" << port_ << "\"\nhttp: \"127.0.0.1:" << monitor_port_
         << "\"\nmax_payload: 2MB\njetstream {\n  store_dir: \"" << (directory_ / "store")
         << "\"\n  max_file_store: " << max_file_store_ << "\n  max_memory_store: 64MB\n"
         << (sync_always_ ? "  sync_interval: always\n" : "") << "}\n"
         << lines_;
}

void NatsServer::start() {
  write_config();
  const std::string config = directory_ / "nats.conf";
  const std::string log = directory_ / "nats.log";
  pid_ = ::fork();
  if (pid_ < 0) die("cannot fork");
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(out, STDERR_FILENO);
    ::execl(program_.c_str(), program_.c_str(), "-c", config.c_str(), nullptr);
    ::_exit(127);
  }
  const auto deadline = std::chrono::steady_clock::now() + kReadyTimeout;
  while (!ready()) {
    if (::waitpid(pid_, nullptr, WNOHANG) == pid_) die("it ended at once; this is its log:\n" + this->log());
    if (std::chrono::steady_clock::now() > deadline) die("it does not become ready");
    std::this_thread::sleep_for(kPoll);
  }
}

bool NatsServer::ready() const {
  return get(monitor_port_, "/healthz").find("200 OK") != std::string::npos;
}

void NatsServer::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void NatsServer::stop() {
  ::kill(pid_, SIGSTOP);
}

void NatsServer::resume() {
  ::kill(pid_, SIGCONT);
}

void NatsServer::reload() {
  write_config();
  ::kill(pid_, SIGHUP);
}

std::string NatsServer::log() const {
  std::ifstream file(directory_ / "nats.log");
  return {std::istreambuf_iterator<char>(file), {}};
}

void NatsServer::empty_store() {
  std::error_code ignored;
  std::filesystem::remove_all(directory_ / "store", ignored);
}

}  // namespace millrace::test
