// The daemon's ends of a function's pipes. Nothing here waits and nothing the function does can block the loop.
//
// SIGPIPE must be ignored in this process, as the daemon does: a function that closes its stdin is nothing special.
// Thread: the loop's.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "async/event_loop.h"
#include "core/error.h"
#include "core/fd.h"

namespace millrace::launched {

inline constexpr std::size_t kPipeTurnBytesMax = 64 * 1024;  // of one stream in one turn of the loop

// Our end is non-blocking, the function's is not: they are different open files.
struct Pipe {
  Fd ours;
  Fd theirs;
};
[[nodiscard]] Result<Pipe> make_pipe_to_write();
[[nodiscard]] Result<Pipe> make_pipe_to_read();

// Hands over what arrives until the last writer is gone.
class PipeReader {
 public:
  using OnBytes = std::move_only_function<void(std::string_view)>;
  using OnEnd = std::move_only_function<void()>;

  PipeReader(EventLoop& loop, Fd fd, OnBytes on_bytes, OnEnd on_end);

  [[nodiscard]] bool ended() const { return !fd_; }
  // Leaves what comes in the pipe: once it is full, whoever writes waits. May be called from `on_bytes`.
  void pause() { watch_.reset(); }
  void resume();
  [[nodiscard]] bool paused() const { return fd_ && !watch_; }

 private:
  void read();

  EventLoop& loop_;

  Fd fd_;
  OnBytes on_bytes_;
  OnEnd on_end_;
  std::unique_ptr<char[]> buffer_;
  std::unique_ptr<EventLoop::Handle> watch_;
};

// Writes `bytes` as fast as the reader takes them and closes. A reader that goes away early ends it.
class PipeWriter {
 public:
  PipeWriter(EventLoop& loop, Fd fd, std::string bytes);

 private:
  bool write();  // false: nothing is left to do

  Fd fd_;
  std::string bytes_;
  std::size_t written_ = 0;
  std::unique_ptr<EventLoop::Handle> watch_;
};

}  // namespace millrace::launched
