// A connected TCP socket on a libuv loop: pulled input, awaited output, deadlines, departure.
//
//   TcpStreams streams(loop, {.tick = 250ms});             // one per loop
//   TcpStream stream(streams, std::move(socket));
//   while (!parse(stream.input())) {
//     const auto got = co_await stream.read_more(5s);       // TcpStream::Input::more, end or silence
//     ...
//   }
//   auto sent = co_await stream.write(head, body);
//
// Back-pressure is the order of statements: while nobody asks for input, at most one buffer of it is taken from the
// kernel. An idle stream owns no buffer: the loop's streams share a pool of them.
//
// Unlike elsewhere, a waiting coroutine is resumed inside libuv's callback: one hop through the loop's inbox less for
// each request. After the resume the callback touches nothing but the block that outlives the stream.
//
// Thread: the loop's. One reader and one writer at a time.
#pragma once

#include <uv.h>

#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "async/task.h"
#include "async/uv_event_loop.h"
#include "core/error.h"
#include "core/fd.h"

namespace millrace {

class TcpStream;

// What the streams of one loop share: buffers and the clock of their deadlines.
class TcpStreams {
 public:
  static constexpr std::size_t kBufferBytes = 64 << 10;

  struct Options {
    std::chrono::milliseconds tick{250};              // deadlines are late by at most this
    std::chrono::milliseconds write_silence{30'000};  // a peer that takes nothing for so long is gone
    std::size_t buffers_kept = 64;
  };

  TcpStreams(UvEventLoop& loop, Options options);
  TcpStreams(const TcpStreams&) = delete;
  TcpStreams& operator=(const TcpStreams&) = delete;
  ~TcpStreams() = default;  // after the streams

  [[nodiscard]] UvEventLoop& loop() const { return loop_; }

  // Wakes readers whose time is over or who were interrupted; called every tick.
  void tick();

 private:
  friend class TcpStream;
  using Buffer = std::unique_ptr<char[]>;  // NOLINT(modernize-avoid-c-arrays): uninitialised on purpose

  [[nodiscard]] Buffer take_buffer();
  void give_back(Buffer buffer);
  void add(TcpStream& stream);
  void remove(TcpStream& stream);
  void start_timer();

  UvEventLoop& loop_;
  Options options_;
  std::vector<Buffer> free_buffers_;
  TcpStream* first_ = nullptr;                // of an intrusive list
  std::unique_ptr<EventLoop::Handle> timer_;  // only while there are streams
};

class TcpStream {
 public:
  enum class Input : std::uint8_t { more, end, silence };  // end: closed, broken, or interrupted

  TcpStream(TcpStreams& streams, Fd socket);
  TcpStream(const TcpStream&) = delete;
  TcpStream& operator=(const TcpStream&) = delete;
  ~TcpStream();  // closes; what was not written yet is lost

  // What has arrived and was not consumed. Views into it hold until the next read_more().
  [[nodiscard]] std::string_view input() const;
  void consume(std::size_t bytes) { begin_ += bytes; }

  // Waits for input beyond what is there, at most for `limit` in which nothing at all arrives.
  class [[nodiscard]] ReadMore {
   public:
    explicit ReadMore(TcpStream& stream) : stream_(stream) {}
    ReadMore(const ReadMore&) = delete;
    ReadMore& operator=(const ReadMore&) = delete;
    ~ReadMore() { stream_.reader_ = {}; }
    [[nodiscard]] bool await_ready() const { return stream_.fresh_ || stream_.ended_ || stream_.interrupted_; }
    void await_suspend(std::coroutine_handle<> reader) const { stream_.wait_for_input(reader); }
    [[nodiscard]] Input await_resume() const { return stream_.take(); }

   private:
    TcpStream& stream_;
  };
  ReadMore read_more(std::chrono::milliseconds limit);

  // Returns when the kernel has taken everything. `unavailable` when the peer is gone.
  [[nodiscard]] Task<Result<void>> write(std::string first, std::string_view second = {});

  // Sends the end; input can still be read.
  void shut_down();

  // Makes the next reader see the end, and one that waits at the next tick.
  void interrupt() { interrupted_ = true; }

  // Called when the peer has closed or is lost while nobody was reading. Input is taken in the background for this, as
  // far as the buffer holds.
  void on_end(EventLoop::Callback callback) { on_end_ = std::move(callback); }

  [[nodiscard]] int fd() const;

  // Waits until the kernel takes output again; for those who write to fd() themselves.
  [[nodiscard]] Task<Result<void>> writable();

 private:
  friend class TcpStreams;
  struct Block;

  class [[nodiscard]] Written {
   public:
    explicit Written(Block& block) : block_(block) {}
    Written(const Written&) = delete;
    Written& operator=(const Written&) = delete;
    ~Written();
    [[nodiscard]] bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> writer) const;
    void await_resume() const {}

   private:
    Block& block_;
  };

  static void on_alloc(uv_handle_t* handle, std::size_t size, uv_buf_t* buffer);
  static void on_read(uv_stream_t* handle, ssize_t got, const uv_buf_t* buffer);
  static void on_written(uv_write_t* request, int status);

  void wait_for_input(std::coroutine_handle<> reader);
  Input take();
  void make_room();
  void start_reading();
  void stop_reading();
  void wake_reader();
  void check_deadlines(std::uint64_t now_ms);
  [[nodiscard]] uv_stream_t* uv() const;

  TcpStreams& streams_;
  Block* block_;  // libuv's part, which lives until the close callback
  TcpStream* next_ = nullptr;
  TcpStream** previous_ = nullptr;

  TcpStreams::Buffer buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;

  std::coroutine_handle<> reader_;
  bool fresh_ = false;  // input has come that no read_more() has told of
  bool silent_ = false;
  bool ended_ = false;
  bool interrupted_ = false;
  bool reading_ = false;
  std::uint64_t read_deadline_ms_ = 0;  // in uv_now's time; counts while somebody reads
  EventLoop::Callback on_end_;

  std::size_t unwritten_ = 0;            // at the last tick that saw progress
  std::uint64_t write_deadline_ms_ = 0;  // 0: nothing is being written
  bool broken_ = false;
  Fd write_watch_fd_;  // the same socket again, for writable()
};

}  // namespace millrace
