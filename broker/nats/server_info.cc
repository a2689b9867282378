#include "broker/nats/server_info.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <memory>
#include <utility>

#include "broker/nats/nats_options.h"
#include "core/fd.h"
#include "formats/json.h"

namespace millrace::nats {
namespace {

constexpr std::chrono::seconds kPatience{2};
constexpr std::size_t kLineBytesMax = 64U << 10;
constexpr std::string_view kStart = "INFO ";
constexpr std::pair<unsigned, unsigned> kNeeded{2, 10};  // consumers with several subjects, metadata of streams

struct FreeAddresses {
  void operator()(addrinfo* addresses) const { ::freeaddrinfo(addresses); }
};

Fd connect_to(std::string host, const std::string& port) {
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), port.c_str(), &hints, &found) != 0) return {};
  const std::unique_ptr<addrinfo, FreeAddresses> all(found);
  const timeval patience{.tv_sec = kPatience.count(), .tv_usec = 0};
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    Fd socket(::socket(each->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);  // also bounds connect()
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (::connect(socket.get(), each->ai_addr, each->ai_addrlen) == 0) return socket;
  }
  return {};
}

std::optional<std::pair<unsigned, unsigned>> numbers_of(std::string_view version) {
  std::pair<unsigned, unsigned> numbers;
  const char* end = version.data() + version.size();
  const auto first = std::from_chars(version.data(), end, numbers.first);
  if (first.ec != std::errc{} || first.ptr == end || *first.ptr != '.') return std::nullopt;
  const auto second = std::from_chars(first.ptr + 1, end, numbers.second);
  if (second.ec != std::errc{}) return std::nullopt;
  return numbers;
}

}  // namespace

std::optional<ServerInfo> ask_server(const std::string& url) {
  const std::string shown = shown_nats_url(url);
  const auto begin = shown.find("://") + 3;
  const auto colon = shown.rfind(':');
  if (colon == std::string::npos || colon < begin) return std::nullopt;
  const Fd socket = connect_to(shown.substr(begin, colon - begin), shown.substr(colon + 1));
  if (!socket) return std::nullopt;
  const auto until = std::chrono::steady_clock::now() + kPatience;
  std::string line;
  while (line.find('\n') == std::string::npos) {
    std::array<char, 4096> piece{};
    const ssize_t n = ::recv(socket.get(), piece.data(), piece.size(), 0);
    if (n <= 0 || line.size() > kLineBytesMax || std::chrono::steady_clock::now() > until) return std::nullopt;
    line.append(piece.data(), static_cast<std::size_t>(n));
  }
  return parse_server_info(std::string_view(line).substr(0, line.find('\n')));
}

std::optional<ServerInfo> parse_server_info(std::string_view line) {
  if (!line.starts_with(kStart)) return std::nullopt;
  const auto info = parse_json(line.substr(kStart.size()), kLineBytesMax);
  if (!info || !info->is_object()) return std::nullopt;
  return ServerInfo{.version = info->string_or("version", ""), .cluster = info->string_or("cluster", "")};
}

Result<void> check_version(const ServerInfo& server, const std::string& url) {
  const auto numbers = numbers_of(server.version);
  if (!numbers || *numbers >= kNeeded) return {};
  return fail(Errc::failed_precondition, "the NATS server at " + shown_nats_url(url) + " is version " + server.version +
                                             ": install " + std::to_string(kNeeded.first) + "." +
                                             std::to_string(kNeeded.second) + " or newer");
}

}  // namespace millrace::nats
