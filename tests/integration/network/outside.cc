#include "tests/integration/network/outside.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "runtime/launcher/namespaces.h"
#include "runtime/launcher/route_socket.h"

namespace millrace::launcher {
namespace {

constexpr int kMachineIndex = 50;
constexpr int kOutsideIndex = 51;
constexpr int kGuardMs = 20'000;

std::uint32_t number_of(const std::string& address) {
  in_addr parsed{};
  ::inet_pton(AF_INET, address.c_str(), &parsed);
  return ntohl(parsed.s_addr);
}

sockaddr_in socket_address(const std::string& address, std::uint16_t port) {
  sockaddr_in made{};
  made.sin_family = AF_INET;
  made.sin_port = htons(port);
  ::inet_pton(AF_INET, address.c_str(), &made.sin_addr);
  return made;
}

Fd listen_at(const std::string& address, std::uint16_t port) {
  Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in where = socket_address(address, port);
  if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&where), sizeof(where)) < 0) return Fd();
  if (::listen(listener.get(), 64) < 0) return Fd();
  return listener;
}

void greet(int listener, const std::string& word) {
  const Fd guest(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  static_cast<void>(::send(guest.get(), word.c_str(), word.size(), MSG_NOSIGNAL));
}

// Answers questions for an address of outside.example.test, and knows no other name.
void answer_name(int socket) {
  std::array<unsigned char, 512> packet{};
  sockaddr_in from{};
  socklen_t from_size = sizeof(from);
  const ssize_t got = ::recvfrom(socket, packet.data(), 400, 0, reinterpret_cast<sockaddr*>(&from), &from_size);
  if (got < 17) return;
  std::string name;
  std::size_t at = 12;
  while (at < static_cast<std::size_t>(got) && packet[at] != 0) {
    name += (name.empty() ? "" : ".") + std::string(reinterpret_cast<const char*>(&packet[at + 1]), packet[at]);
    at += packet[at] + 1U;
  }
  const std::size_t question_end = at + 5;
  const bool known = name == "outside.example.test";
  const bool for_address = packet[at + 2] == 1;
  packet[2] = 0x81;
  packet[3] = known ? 0x80 : 0x83;
  packet[7] = known && for_address ? 1 : 0;
  packet[9] = packet[11] = 0;
  std::size_t size = question_end;
  if (packet[7] == 1) {
    const std::array<unsigned char, 12> record{0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4};
    std::memcpy(&packet[size], record.data(), record.size());
    const auto address = socket_address(kOutsideAddress, 0).sin_addr;
    std::memcpy(&packet[size + record.size()], &address, 4);
    size += record.size() + 4;
  }
  ::sendto(socket, packet.data(), size, 0, reinterpret_cast<const sockaddr*>(&from), from_size);
}

[[noreturn]] void serve_outside(int life) {
  const Fd names(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const sockaddr_in where = socket_address("0.0.0.0", 53);
  const Fd listener = listen_at("0.0.0.0", kOutsidePort);
  const bool ready = listener && ::bind(names.get(), reinterpret_cast<const sockaddr*>(&where), sizeof(where)) == 0;
  const char said = ready ? 'y' : 'n';
  if (::write(life, &said, 1) != 1) ::_exit(1);
  for (;;) {
    std::array<pollfd, 3> waiting{pollfd{.fd = life, .events = POLLIN, .revents = 0},
                                  pollfd{.fd = names.get(), .events = POLLIN, .revents = 0},
                                  pollfd{.fd = listener.get(), .events = POLLIN, .revents = 0}};
    ::poll(waiting.data(), waiting.size(), -1);
    if (waiting[0].revents != 0) ::_exit(0);
    if (waiting[1].revents != 0) answer_name(names.get());
    if (waiting[2].revents != 0) greet(listener.get(), "outside");
  }
}

bool arrange_outside() {
  if (!raise_loopback()) return false;
  auto routes = RouteSocket::open();
  return routes && routes->add_address(kOutsideIndex, number_of(kOutsideAddress), 24) &&
         routes->add_address(kOutsideIndex, number_of(kOtherOutsideAddress), 24) &&
         routes->add_address(kOutsideIndex, number_of(kMetadataAddress), 32) && routes->raise(kOutsideIndex);
}

bool await_word(int socket) {
  pollfd waiting{.fd = socket, .events = POLLIN, .revents = 0};
  char said = 0;
  return ::poll(&waiting, 1, kGuardMs) == 1 && ::read(socket, &said, 1) == 1 && said == 'y';
}

}  // namespace

std::string leave_the_host() {
  if (::unshare(CLONE_NEWNET | CLONE_NEWNS) < 0) return std::string("unshare: ") + std::strerror(errno);
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0) return "make mounts private";
  if (!raise_loopback()) return "raise the loopback interface";
  return {};
}

Outside::Outside() {
  set_up();
}

void Outside::set_up() {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) < 0) {
    trouble_ = "socketpair";
    return;
  }
  life_ = Fd(ends[0]);
  const Fd theirs(ends[1]);
  server_ = ::fork();
  if (server_ == 0) {
    life_.reset();
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    char said = ::unshare(CLONE_NEWNET) == 0 ? 'y' : 'n';
    if (::write(theirs.get(), &said, 1) != 1 || !await_word(theirs.get()) || !arrange_outside()) ::_exit(1);
    serve_outside(theirs.get());
  }
  if (!await_word(life_.get())) {
    trouble_ = "a network namespace";
    return;
  }
  const std::string path = "/proc/" + std::to_string(server_) + "/ns/net";
  const Fd there(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  auto routes = RouteSocket::open();
  if (!routes ||
      !routes->add_pair({.name = "h0", .index = kMachineIndex}, {.name = "o0", .index = kOutsideIndex}, there.get(),
                        1500) ||
      !routes->add_address(kMachineIndex, number_of(kMachineAddress), 24) || !routes->raise(kMachineIndex) ||
      ::write(life_.get(), "y", 1) != 1 || !await_word(life_.get())) {
    trouble_ = "the outside";
    return;
  }
  if (!routes->add_route(
          {.to = {.address = 0, .bits = 0}, .interface = kMachineIndex, .gateway = number_of(kOutsideAddress)})) {
    trouble_ = "a way to the outside";
    return;
  }
  // By an overlay of its whole directory: a file mounted by itself would keep an ordinary user from showing /etc.
  std::array<char, PATH_MAX> real{};
  const bool found = ::realpath("/etc/resolv.conf", real.data()) != nullptr;
  resolver_directory_ = std::filesystem::path(real.data()).parent_path();
  layer_ = "/tmp/millrace-network-test-" + std::to_string(::getpid());
  std::filesystem::create_directory(layer_);
  std::ofstream(layer_ + "/resolv.conf") << "nameserver " << kOutsideAddress
                                         << "\nsearch example.test\noptions timeout:5\n";
  const std::string layers = "lowerdir=" + layer_ + ":" + resolver_directory_;
  if (!found || ::mount("overlay", resolver_directory_.c_str(), "overlay", MS_RDONLY, layers.c_str()) < 0) {
    trouble_ = "a resolver configuration";
  }
}

Outside::~Outside() {
  life_.reset();
  if (server_ > 0) ::waitpid(server_, nullptr, 0);
  auto routes = RouteSocket::open();
  if (routes) routes->remove_interface(kMachineIndex);
  if (layer_.empty()) return;
  ::umount2(resolver_directory_.c_str(), MNT_DETACH);
  std::filesystem::remove_all(layer_);
}

bool Outside::add_machine_address(const std::string& address) {
  auto routes = RouteSocket::open();
  return routes && routes->add_address(kMachineIndex, number_of(address), 24);
}

MachineServer::MachineServer(const std::string& address) {
  const Fd listener = listen_at(address, 0);
  sockaddr_in name{};
  socklen_t size = sizeof(name);
  if (::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&name), &size) < 0) return;
  port_ = ntohs(name.sin_port);
  server_ = ::fork();
  if (server_ != 0) return;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (;;) greet(listener.get(), "machine");
}

MachineServer::~MachineServer() {
  if (server_ <= 0) return;
  ::kill(server_, SIGKILL);
  ::waitpid(server_, nullptr, 0);
}

std::string ask(const std::string& address, std::uint16_t port) {
  const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in where = socket_address(address, port);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&where), sizeof(where)) < 0) {
    return std::to_string(errno);
  }
  std::array<char, 64> word{};
  const ssize_t got = ::recv(socket.get(), word.data(), word.size(), 0);
  return {word.data(), static_cast<std::size_t>(got > 0 ? got : 0)};
}

}  // namespace millrace::launcher
