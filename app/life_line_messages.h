// What daemon and supervisor say over the daemon's life line, a SEQPACKET socket: one letter and the decimal number of
// a launcher socket, at most kLifeLineBytesMax.
//   supervisor -> daemon  kLauncherSocket with exactly one descriptor: the socket of a launcher. The one before is dead
//                         or about to be. Also how the very first one comes.
//   daemon -> supervisor  kSocketLost: the launcher dropped the socket of this number, or died; send another.
//                         kLauncherStuck: whoever is behind this number does not answer; kill it and start another.
//                         A number that is not the latest one is ignored: help is already on its way.
//   end of file           the other side is gone. The daemon leaves; the supervisor learns it from the process itself.
//
// The daemon finds its life line at descriptor kDaemonLifeLine; the descriptors that the supervisor was told to pass
// (configuration and the like) follow from kDaemonDescriptors on. They are shared with the next daemon: read them by
// offset, and do not close their meaning by moving their position.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace millrace {

inline constexpr int kDaemonLifeLine = 3;
inline constexpr int kDaemonDescriptors = 4;

inline constexpr std::size_t kLifeLineBytesMax = 32;

struct LifeLineMessage {
  static constexpr char kLauncherSocket = 'L';
  static constexpr char kSocketLost = 'n';
  static constexpr char kLauncherStuck = 'k';

  char kind = 0;
  std::uint64_t number = 0;
};

[[nodiscard]] inline std::string encode(const LifeLineMessage& message) {
  return message.kind + std::to_string(message.number);
}

// Nothing for what is not such a message.
[[nodiscard]] inline std::optional<LifeLineMessage> decode_life_line(std::string_view bytes) {
  if (bytes.size() < 2 || bytes.size() > kLifeLineBytesMax) return std::nullopt;
  LifeLineMessage message{.kind = bytes.front()};
  const char* const end = bytes.data() + bytes.size();
  const auto [rest, error] = std::from_chars(bytes.data() + 1, end, message.number);
  if (error != std::errc() || rest != end) return std::nullopt;
  return message;
}

}  // namespace millrace
