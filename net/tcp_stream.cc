#include "net/tcp_stream.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "async/sleep.h"

namespace millrace {
namespace {

Error gone() {
  return {.code = Errc::unavailable, .message = "the peer has closed the connection", .retry_after = {}};
}

}  // namespace

// libuv frees a handle one turn after it is closed: what it writes to lives as long.
struct TcpStream::Block {
  uv_tcp_t tcp{};
  uv_write_t request{};
  std::string out;
  std::coroutine_handle<> writer;
  int write_status = 0;
  TcpStream* stream = nullptr;
};

TcpStreams::TcpStreams(UvEventLoop& loop, Options options) : loop_(loop), options_(options) {}

TcpStreams::Buffer TcpStreams::take_buffer() {
  if (free_buffers_.empty()) return std::make_unique_for_overwrite<char[]>(kBufferBytes);  // NOLINT: as Buffer
  Buffer buffer = std::move(free_buffers_.back());
  free_buffers_.pop_back();
  return buffer;
}

void TcpStreams::give_back(Buffer buffer) {
  if (buffer && free_buffers_.size() < options_.buffers_kept) free_buffers_.push_back(std::move(buffer));
}

void TcpStreams::add(TcpStream& stream) {
  stream.next_ = first_;
  stream.previous_ = &first_;
  if (first_ != nullptr) first_->previous_ = &stream.next_;
  first_ = &stream;
  if (!timer_) start_timer();
}

void TcpStreams::remove(TcpStream& stream) {
  *stream.previous_ = stream.next_;
  if (stream.next_ != nullptr) stream.next_->previous_ = stream.previous_;
  if (first_ == nullptr) timer_.reset();
}

void TcpStreams::start_timer() {
  timer_ = loop_.start_timer(options_.tick, [this] {
    tick();
    if (first_ != nullptr) start_timer();
  });
}

void TcpStreams::tick() {
  const std::uint64_t now_ms = uv_now(loop_.native());
  // A reader that is woken may close its own stream, never another one.
  for (TcpStream *stream = first_, *next = nullptr; stream != nullptr; stream = next) {
    next = stream->next_;
    stream->check_deadlines(now_ms);
  }
}

TcpStream::TcpStream(TcpStreams& streams, Fd socket) : streams_(streams), block_(new Block) {
  block_->stream = this;
  block_->tcp.data = block_;
  uv_tcp_init(streams_.loop_.native(), &block_->tcp);
  if (uv_tcp_open(&block_->tcp, socket.get()) == 0) {
    (void)socket.release();
    uv_tcp_nodelay(&block_->tcp, 1);
  } else {
    ended_ = true;
    broken_ = true;
  }
  streams_.add(*this);
}

TcpStream::~TcpStream() {
  streams_.remove(*this);
  streams_.give_back(std::move(buffer_));
  block_->stream = nullptr;
  block_->writer = {};
  uv_close(reinterpret_cast<uv_handle_t*>(&block_->tcp),  // NOLINT: libuv's handle types are "derived" by layout
           [](uv_handle_t* handle) { delete static_cast<Block*>(handle->data); });
}

uv_stream_t* TcpStream::uv() const {
  return reinterpret_cast<uv_stream_t*>(&block_->tcp);  // NOLINT: as above
}

int TcpStream::fd() const {
  int fd = -1;
  uv_fileno(reinterpret_cast<const uv_handle_t*>(&block_->tcp), &fd);  // NOLINT: as above
  return fd;
}

std::string_view TcpStream::input() const {
  return {buffer_.get() + begin_, end_ - begin_};
}

TcpStream::ReadMore TcpStream::read_more(std::chrono::milliseconds limit) {
  make_room();
  read_deadline_ms_ = uv_now(streams_.loop_.native()) + static_cast<std::uint64_t>(limit.count());
  return ReadMore(*this);
}

void TcpStream::make_room() {
  if (begin_ == end_) {
    streams_.give_back(std::move(buffer_));
    begin_ = end_ = 0;
  } else if (end_ == TcpStreams::kBufferBytes) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
}

void TcpStream::wait_for_input(std::coroutine_handle<> reader) {
  reader_ = reader;
  start_reading();
}

TcpStream::Input TcpStream::take() {
  if (std::exchange(fresh_, false)) return Input::more;
  return std::exchange(silent_, false) ? Input::silence : Input::end;
}

void TcpStream::start_reading() {
  if (reading_ || ended_ || end_ == TcpStreams::kBufferBytes) return;
  reading_ = uv_read_start(uv(), on_alloc, on_read) == 0;
}

void TcpStream::stop_reading() {
  if (std::exchange(reading_, false)) uv_read_stop(uv());
}

void TcpStream::on_alloc(uv_handle_t* handle, std::size_t, uv_buf_t* buffer) {
  TcpStream& stream = *static_cast<Block*>(handle->data)->stream;
  if (!stream.buffer_) stream.buffer_ = stream.streams_.take_buffer();
  *buffer =
      uv_buf_init(stream.buffer_.get() + stream.end_, static_cast<unsigned>(TcpStreams::kBufferBytes - stream.end_));
}

void TcpStream::on_read(uv_stream_t* handle, ssize_t got, const uv_buf_t*) {
  auto* block = static_cast<Block*>(handle->data);
  TcpStream& stream = *block->stream;
  if (got == 0) return;  // nothing after all
  if (got > 0) {
    stream.end_ += static_cast<std::size_t>(got);
    stream.fresh_ = true;
    if (stream.end_ == TcpStreams::kBufferBytes) stream.stop_reading();
  } else {
    stream.ended_ = true;
    stream.broken_ = stream.broken_ || got != UV_EOF;
    stream.stop_reading();
  }
  if (stream.reader_) {
    stream.wake_reader();  // may destroy the stream
  } else if (stream.ended_ && stream.on_end_) {
    auto callback = std::exchange(stream.on_end_, nullptr);
    callback();
  }
}

void TcpStream::wake_reader() {
  std::exchange(reader_, {}).resume();
}

Task<Result<void>> TcpStream::write(std::string first, std::string_view second) {
  if (broken_) co_return fail(gone());
  const std::array<uv_buf_t, 2> parts = {
      uv_buf_init(first.data(), static_cast<unsigned>(first.size())),
      uv_buf_init(const_cast<char*>(second.data()), static_cast<unsigned>(second.size())),  // NOLINT: only read
  };
  const int sent = uv_try_write(uv(), parts.data(), second.empty() ? 1 : 2);
  if (sent < 0 && sent != UV_EAGAIN) {
    broken_ = true;
    co_return fail(gone());
  }
  std::size_t done = sent < 0 ? 0 : static_cast<std::size_t>(sent);
  if (done == first.size() + second.size()) co_return Result<void>();

  // The rest lives in the block: whoever writes may be dropped before the kernel has taken it.
  block_->out.clear();
  if (done < first.size()) block_->out = first.substr(done);
  done -= std::min(done, first.size());
  block_->out.append(second.substr(done));
  uv_buf_t rest = uv_buf_init(block_->out.data(), static_cast<unsigned>(block_->out.size()));
  if (uv_write(&block_->request, uv(), &rest, 1, on_written) != 0) {
    broken_ = true;
    co_return fail(gone());
  }
  unwritten_ = block_->out.size();
  write_deadline_ms_ =
      uv_now(streams_.loop_.native()) + static_cast<std::uint64_t>(streams_.options_.write_silence.count());
  co_await Written(*block_);
  if (broken_) co_return fail(gone());
  co_return Result<void>();
}

TcpStream::Written::~Written() {
  block_.writer = {};
}

void TcpStream::Written::await_suspend(std::coroutine_handle<> writer) const {
  block_.writer = writer;
}

void TcpStream::on_written(uv_write_t* request, int status) {
  auto* block = static_cast<Block*>(request->handle->data);
  if (block->out.capacity() > TcpStreams::kBufferBytes) block->out = {};
  if (block->stream == nullptr) return;
  block->stream->write_deadline_ms_ = 0;
  block->stream->broken_ = block->stream->broken_ || status != 0;
  if (block->writer) std::exchange(block->writer, {}).resume();
}

void TcpStream::check_deadlines(std::uint64_t now_ms) {
  if (write_deadline_ms_ != 0) {
    const std::size_t unwritten = uv_stream_get_write_queue_size(uv());
    if (unwritten != unwritten_) {
      unwritten_ = unwritten;
      write_deadline_ms_ = now_ms + static_cast<std::uint64_t>(streams_.options_.write_silence.count());
    } else if (now_ms >= write_deadline_ms_) {
      ::shutdown(fd(), SHUT_RDWR);  // the pending write fails by this, and so wakes its writer
    }
  }
  if (!reader_) return;
  silent_ = now_ms >= read_deadline_ms_;
  if (silent_ || interrupted_) wake_reader();
}

void TcpStream::shut_down() {
  ::shutdown(fd(), SHUT_WR);
}

Task<Result<void>> TcpStream::writable() {
  if (!write_watch_fd_) {
    write_watch_fd_ = Fd(::fcntl(fd(), F_DUPFD_CLOEXEC, 0));
    if (!write_watch_fd_) co_return fail(error_from_errno(errno, "wait until a peer takes more"));
  }
  Deadline deadline(streams_.loop_, streams_.options_.write_silence);
  auto ready =
      co_await wait_ready(streams_.loop_, write_watch_fd_.get(), EventLoop::Interest::writable, deadline.token());
  if (!ready && deadline.expired()) co_return fail(gone());
  co_return ready;
}

}  // namespace millrace
