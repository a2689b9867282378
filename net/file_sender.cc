#include "net/file_sender.h"

#include <fcntl.h>
#include <sys/sendfile.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "async/one_shot.h"
#include "net/sigpipe.h"

namespace millrace {
namespace {

// What one call may copy: long enough to hide the way to the pool and back, short enough to leave threads to others.
constexpr std::uint64_t kPieceBytes = 1 << 20;

struct Outcome {
  ssize_t copied = 0;
  int error_number = 0;
};

// One call on the pool. It owns descriptors of its own, since whoever waits for it may be dropped and close theirs.
struct Piece {
  uv_work_t work{};
  Fd socket;
  std::shared_ptr<const Fd> file;
  off_t offset = 0;
  std::size_t bytes = 0;
  Outcome outcome;
  OneShot<Outcome> done;

  static void run(uv_work_t* work) {
    auto& piece = *static_cast<Piece*>(work->data);
    block_sigpipe();  // whoever used the pool first may have made its threads without this
    // Not uv_fs_sendfile: in libuv 1.44 it tries copy_file_range first, and falls back to a loop that waits for the
    // peer on the pool's thread, where a few slow readers would hold up every other file.
    piece.outcome.copied = ::sendfile(piece.socket.get(), piece.file->get(), &piece.offset, piece.bytes);
    piece.outcome.error_number = errno;
  }
  static void finish(uv_work_t* work, int) {
    const std::unique_ptr<Piece> piece(static_cast<Piece*>(work->data));
    piece->done.set(piece->outcome);
  }
};

Result<OneShot<Outcome>> start_piece(UvEventLoop& loop, int socket, std::shared_ptr<const Fd> file,
                                     std::uint64_t offset, std::uint64_t bytes) {
  auto piece = std::make_unique<Piece>(Piece{.socket = Fd(::fcntl(socket, F_DUPFD_CLOEXEC, 0)),
                                             .file = std::move(file),
                                             .offset = static_cast<off_t>(offset),
                                             .bytes = std::min(bytes, kPieceBytes),
                                             .outcome = {},
                                             .done = OneShot<Outcome>(loop)});
  if (!piece->socket) return fail(error_from_errno(errno, "send a file"));
  piece->work.data = piece.get();
  auto done = piece->done;
  if (uv_queue_work(loop.native(), &piece->work, Piece::run, Piece::finish) != 0) {
    return fail(Errc::internal, "send a file: the thread pool takes no work");
  }
  (void)piece.release();  // finish() has it
  return done;
}

}  // namespace

Task<Result<void>> send_file_range(TcpStream& stream, UvEventLoop& loop, Fd file, std::uint64_t offset,
                                   std::uint64_t length) {
  const auto shared = std::make_shared<const Fd>(std::move(file));
  while (length > 0) {
    const auto started = start_piece(loop, stream.fd(), shared, offset, length);
    if (!started) co_return fail(started.error());
    const auto outcome = co_await started->wait();
    if (outcome.copied > 0) {
      offset += static_cast<std::uint64_t>(outcome.copied);
      length -= static_cast<std::uint64_t>(outcome.copied);
      continue;
    }
    if (outcome.copied == 0) {
      co_return fail(Errc::data_loss, "send a file: it ended " + std::to_string(length) + " bytes early");
    }
    if (outcome.error_number == EAGAIN) {
      const auto ready = co_await stream.writable();
      if (!ready) co_return fail(ready.error());
    } else if (outcome.error_number != EINTR) {
      co_return fail(error_from_errno(outcome.error_number, "send a file"));
    }
  }
  co_return Result<void>();
}

}  // namespace millrace
