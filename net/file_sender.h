// Copies a part of a file into a stream without its bytes passing through this process (sendfile).
#pragma once

#include <cstdint>

#include "async/task.h"
#include "async/uv_event_loop.h"
#include "core/error.h"
#include "core/fd.h"
#include "net/tcp_stream.h"

namespace millrace {

// `length` bytes from `offset`. `data_loss` when the file ends before, `unavailable` when the peer is gone: the stream
// then holds a part. The disk is waited for on a thread of libuv's pool, the peer on the loop.
[[nodiscard]] Task<Result<void>> send_file_range(TcpStream& stream, UvEventLoop& loop, Fd file, std::uint64_t offset,
                                                 std::uint64_t length);

}  // namespace millrace
