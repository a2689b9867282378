// Datagrams with descriptors over a SOCK_SEQPACKET unix socket.
//
//   Datagram got;
//   if (receive(socket, got) == Transfer::done) handle(got.bytes, std::move(got.descriptors));
//
// Nothing here waits: a socket that would block says so, whatever its flags are.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/fd.h"

namespace millrace::launcher {

enum class Transfer : std::uint8_t {
  done,
  would_block,
  closed,   // end of file, or the peer is gone
  refused,  // a datagram over kDatagramBytesMax or with more than kDescriptorsMax descriptors: the peer is broken
  failed,   // the system refused; errno says why
};

struct Datagram {
  std::string bytes;
  std::vector<Fd> descriptors;  // close-on-exec
};

[[nodiscard]] Transfer receive(int socket, Datagram& into);
[[nodiscard]] Transfer send(int socket, std::string_view bytes, std::span<const int> descriptors = {});

// A sealed memfd with these bytes, as Spawn's program travels when it is over kProgramInlineBytesMax.
[[nodiscard]] Result<Fd> sealed_memfd(std::string_view bytes);

// The content of a memfd that nobody can change any more; invalid_argument if it is not sealed or over `bytes_max`.
[[nodiscard]] Result<std::string> read_sealed_memfd(int fd, std::size_t bytes_max);

}  // namespace millrace::launcher
