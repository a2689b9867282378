// The request parser: bytes in, events out, no I/O and no waiting. The only place that knows the parsing library.
//
//   HttpParser parser({.header_bytes_max = 16384});
//   switch (parser.next(input)) {                    // takes what it understood off the front of `input`
//     case HttpParser::Event::more: ...              // present the rest again, with more bytes behind it
//     case HttpParser::Event::head: use(parser.head());
//     case HttpParser::Event::body: use(parser.body());   // a view into what was just taken
//     case HttpParser::Event::done: parser.reset();       // the next request may follow at once
//     case HttpParser::Event::bad: answer(parser.status(), parser.reason());
//   }
//
// Stricter than the library where RFC 9112 leaves room for two readings of one message, because whoever stands in front
// of us may have chosen the other one: no obs-fold, one Content-Length, Transfer-Encoding only as "chunked" on 1.1, one
// Host, known methods, bounded framing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "net/http_message.h"

namespace millrace {

class HttpParser {
 public:
  enum class Event : std::uint8_t { more, head, body, done, bad };

  struct Limits {
    std::size_t header_bytes_max = 16 << 10;  // request line and fields; also trailers, and the framing of a chunk
  };

  explicit HttpParser(Limits limits);
  HttpParser(const HttpParser&) = delete;
  HttpParser& operator=(const HttpParser&) = delete;
  ~HttpParser();

  [[nodiscard]] Event next(std::string_view& input);

  // True when `done` is due without more input.
  [[nodiscard]] bool finished() const;

  // After `head`, until reset(). May be moved from.
  [[nodiscard]] HttpHead& head();
  // After `body`, as long as the input lives.
  [[nodiscard]] std::string_view body() const;
  // After `bad`: what to answer. Nothing can be parsed on this connection any more.
  [[nodiscard]] int status() const;
  [[nodiscard]] std::string_view reason() const;

  void reset();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace millrace
