#include "telemetry/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/base_sink.h>

#include <poll.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <mutex>

#include "formats/json_text.h"
#include "formats/timestamp.h"
#include "formats/utf8.h"

namespace millrace {
namespace {

// What a descriptor takes at once. Errors are those of write(); EAGAIN: not now, somebody does not read.
// The descriptor may be shared with other programs, so it cannot be made non-blocking: the system call has to be.
ssize_t write_at_once(int fd, bool is_file, std::string_view text) {
  if (is_file) return ::write(fd, text.data(), text.size());
  const iovec piece{.iov_base = const_cast<char*>(text.data()), .iov_len = text.size()};  // NOLINT: the call's type
  const ssize_t written = ::pwritev2(fd, &piece, 1, -1, RWF_NOWAIT);
  if (written >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS)) return written;
  // Terminals, and pipes of older kernels: what has room takes as much as a pipe takes whole.
  pollfd room{.fd = fd, .events = POLLOUT, .revents = 0};
  if (::poll(&room, 1, 0) <= 0) {
    errno = EAGAIN;
    return -1;
  }
  return ::write(fd, text.data(), std::min<std::size_t>(text.size(), PIPE_BUF));
}

// Writes finished lines. spdlog brings the level filter and the lock.
class FdSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  using Notice = std::string (*)(std::uint64_t lost);

  // `notice`: the line that says how many are missing where it stands.
  FdSink(int fd, Notice notice) : fd_(fd), notice_(notice) {
    struct stat info{};
    is_file_ = ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  }

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    if (lost_ > 0) {
      std::string notice = (torn_ ? "\n" : "") + notice_(lost_);
      // Whole or not at all: as short as it is, a pipe does not take a part of it.
      if (write_at_once(fd_, is_file_, notice) != static_cast<ssize_t>(notice.size())) {
        ++lost_;
        return;
      }
      lost_ = 0;
      torn_ = false;
    }
    const std::string_view line(message.payload.data(), message.payload.size());
    std::string_view rest = line;
    while (!rest.empty()) {
      const ssize_t written = write_at_once(fd_, is_file_, rest);
      if (written > 0) {
        rest.remove_prefix(static_cast<std::size_t>(written));
      } else if (written == 0 || errno != EINTR) {
        ++lost_;
        torn_ = rest.size() < line.size();
        return;
      }
    }
  }
  void flush_() override {}

  int fd_;
  Notice notice_;
  bool is_file_ = false;
  std::uint64_t lost_ = 0;  // lines since the last one that was written
  bool torn_ = false;       // the first of them in part
};

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return spdlog::level::debug;
    case LogLevel::info: return spdlog::level::info;
    case LogLevel::warn: return spdlog::level::warn;
    case LogLevel::error: return spdlog::level::err;
  }
  return spdlog::level::info;
}

struct LevelText {
  std::string_view name;
  std::string_view padded;
  std::string_view colour;
};

const LevelText& text_of(LogLevel level) {
  static constexpr std::array<LevelText, 4> kLevels{{
      {"debug", "DEBUG", "\033[2m"},
      {"info", "INFO ", "\033[32m"},
      {"warn", "WARN ", "\033[33m"},
      {"error", "ERROR", "\033[31m"},
  }};
  return kLevels.at(static_cast<std::size_t>(level));
}

constexpr std::string_view kColourEnd = "\033[0m";

bool wants_colour(int fd) {
  const char* no_colour = std::getenv("NO_COLOR");  // NOLINT(concurrency-mt-unsafe): read once, at the start
  return (no_colour == nullptr || *no_colour == '\0') && ::isatty(fd) == 1;
}

std::string_view cut(std::string_view text) {
  return text.substr(0, kLogValueBytesMax);
}

void append_hex_escape(std::string& out, char c) {
  constexpr std::string_view kHex = "0123456789abcdef";
  const auto byte = static_cast<unsigned char>(c);
  out += "\\x";
  out += kHex[byte >> 4];
  out += kHex[byte & 15];
}

// Makes text harmless on a terminal: control characters (the C1 ones, U+0080 to U+009F, too) and bytes that are not
// UTF-8 are escaped, within quotes also the quote.
void append_text(std::string& out, std::string_view text, bool quoted) {
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const char c = text[0];
    const bool is_c1 = length == 2 && c == '\xc2' && static_cast<unsigned char>(text[1]) < 0xa0;
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (quoted && (c == '"' || c == '\\')) {
      out += '\\';
      out += c;
    } else if (length == 0 || static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      append_hex_escape(out, c);
    } else if (is_c1) {
      append_hex_escape(out, text[1]);
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
}

bool needs_quotes(std::string_view value) {
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte >= 0x7f || c == '"' || c == '=' || c == '\\') return true;
  }
  return value.empty();
}

std::string text_line(LogLevel level, std::string_view message, Log::Fields fields, bool colour) {
  std::string line = format_timestamp(std::chrono::system_clock::now());
  line += ' ';
  if (colour) line += text_of(level).colour;
  line += text_of(level).padded;
  if (colour) line += kColourEnd;
  line += ' ';
  append_text(line, cut(message), false);
  std::size_t count = 0;
  for (const auto& field : fields) {
    if (++count > kLogFieldsMax) break;
    const std::string_view value = cut(field.text());
    const bool quoted = needs_quotes(value);
    line += ' ';
    append_text(line, field.name(), false);
    line += '=';
    if (quoted) line += '"';
    append_text(line, value, quoted);
    if (quoted) line += '"';
  }
  line += '\n';
  return line;
}

std::string json_line(LogLevel level, std::string_view message, Log::Fields fields) {
  std::string line = R"({"time":")" + format_timestamp(std::chrono::system_clock::now()) + R"(","level":")";
  line += text_of(level).name;
  line += R"(","message":)";
  append_json_string(line, cut(message));
  std::size_t count = 0;
  for (const auto& field : fields) {
    if (++count > kLogFieldsMax) break;
    line += ',';
    append_json_string(line, field.name());
    line += ':';
    if (field.is_number()) {
      line += field.text();
    } else {
      append_json_string(line, cut(field.text()));
    }
  }
  line += "}\n";
  return line;
}

constexpr std::string_view kLost = "lines of this log are missing here: they were not read, or not stored, in time";

std::string lost_text(std::uint64_t lines) {
  return text_line(LogLevel::warn, kLost, {{"lines", lines}}, false);
}
std::string lost_json(std::uint64_t lines) {
  return json_line(LogLevel::warn, kLost, {{"lines", lines}});
}

}  // namespace

Log::Field::Field(std::string_view name, const Error& error) : name_(name), text_(name_of(error.code)) {
  text_ += ": ";
  text_ += error.message;
}

struct Log::Impl {
  explicit Impl(const Options& options)
      : logger("millrace",
               std::make_shared<FdSink>(options.fd, options.format == LogFormat::json ? FdSink::Notice(lost_json)
                                                                                      : FdSink::Notice(lost_text))),
        format(options.format),
        colour(options.format == LogFormat::text && wants_colour(options.fd)) {
    logger.set_level(spdlog_level(options.level));
  }

  spdlog::logger logger;
  LogFormat format;
  bool colour;
};

Log::Log(Options options) : impl_(std::make_unique<Impl>(options)) {}
Log::~Log() = default;

void Log::debug(std::string_view message, Fields fields) {
  write(LogLevel::debug, message, fields);
}
void Log::info(std::string_view message, Fields fields) {
  write(LogLevel::info, message, fields);
}
void Log::warn(std::string_view message, Fields fields) {
  write(LogLevel::warn, message, fields);
}
void Log::error(std::string_view message, Fields fields) {
  write(LogLevel::error, message, fields);
}

bool Log::enabled(LogLevel level) const {
  return impl_->logger.should_log(spdlog_level(level));
}

void Log::write(LogLevel level, std::string_view message, Fields fields) {
  if (!enabled(level)) return;
  const std::string line = impl_->format == LogFormat::json ? json_line(level, message, fields)
                                                            : text_line(level, message, fields, impl_->colour);
  impl_->logger.log(spdlog_level(level), spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace millrace
