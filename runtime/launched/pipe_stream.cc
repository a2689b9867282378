#include "runtime/launched/pipe_stream.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace millrace::launched {
namespace {

Result<Pipe> make_pipe(std::size_t our_end) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail(error_from_errno(errno, "make a pipe for a function"));
  Pipe pipe{.ours = Fd(ends[our_end]), .theirs = Fd(ends[1 - our_end])};
  if (::fcntl(pipe.ours.get(), F_SETFL, O_NONBLOCK) != 0) {
    return fail(error_from_errno(errno, "make a pipe non-blocking"));
  }
  return pipe;
}

}  // namespace

Result<Pipe> make_pipe_to_write() {
  return make_pipe(1);
}
Result<Pipe> make_pipe_to_read() {
  return make_pipe(0);
}

PipeReader::PipeReader(EventLoop& loop, Fd fd, OnBytes on_bytes, OnEnd on_end)
    : loop_(loop),
      fd_(std::move(fd)),
      on_bytes_(std::move(on_bytes)),
      on_end_(std::move(on_end)),
      buffer_(new char[kPipeTurnBytesMax]),
      watch_(loop.watch(fd_.get(), EventLoop::Interest::readable, [this] { read(); })) {}

void PipeReader::resume() {
  if (paused()) watch_ = loop_.watch(fd_.get(), EventLoop::Interest::readable, [this] { read(); });
}

void PipeReader::read() {
  const ssize_t got = ::read(fd_.get(), buffer_.get(), kPipeTurnBytesMax);
  if (got > 0) {
    on_bytes_({buffer_.get(), static_cast<std::size_t>(got)});
    return;
  }
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  watch_.reset();
  fd_.reset();
  on_end_();
}

PipeWriter::PipeWriter(EventLoop& loop, Fd fd, std::string bytes) : fd_(std::move(fd)), bytes_(std::move(bytes)) {
  if (!write()) return;  // most inputs fit into the pipe
  watch_ = loop.watch(fd_.get(), EventLoop::Interest::writable, [this] { write(); });
}

bool PipeWriter::write() {
  if (written_ < bytes_.size()) {
    const std::size_t size = std::min(bytes_.size() - written_, kPipeTurnBytesMax);
    const ssize_t put = ::write(fd_.get(), bytes_.data() + written_, size);
    if (put > 0) written_ += static_cast<std::size_t>(put);
    const bool reader_gone = put < 0 && errno != EAGAIN && errno != EINTR;
    if (!reader_gone && written_ < bytes_.size()) return true;
  }
  watch_.reset();
  fd_.reset();
  bytes_.clear();
  bytes_.shrink_to_fit();
  return false;
}

}  // namespace millrace::launched
