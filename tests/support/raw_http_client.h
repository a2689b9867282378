// An HTTP client that sends exactly the bytes it is told to.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/fd.h"

namespace millrace::test {

// What a client made of one answer.
struct Answer {
  int status = 0;
  std::string head;
  std::string body;
  [[nodiscard]] bool has(std::string_view line) const { return head.find(line) != std::string::npos; }
};

// A blocking socket. Its reads give up after a time that no working server needs.
class RawClient {
 public:
  explicit RawClient(std::uint16_t port);

  void send(std::string_view bytes);
  // Everything up to the end of the connection; `reset` is part of the text when it did not end well.
  std::string read_to_end();
  // One answer with Content-Length, chunks, or none of them up to the end. Status 0: the connection ended before it.
  Answer read_answer(std::string_view method = "GET");
  [[nodiscard]] bool ended();  // waits for the end; false: there is more to read
  void close() { fd_.reset(); }
  void shut_down();
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  bool read_some();
  std::string take(std::size_t bytes);
  std::string take_line();

  Fd fd_;
  std::string input_;
};

}  // namespace millrace::test
