// The log facade: one line per thing that happened, readable text or JSON lines, on stderr.
//
//   log.info("function applied", {{"function", spec.name}, {"revision", spec.revision}});
//   log.warn("publish failed", {{"topic", topic}, {"error", error}});
//
// An error is logged where it is handled, once. Secrets, tokens and payloads never. Hot-path lines are debug.
// A line is written whole, by one system call where the descriptor allows it, before the call returns; longer values
// than kLogValueBytesMax are cut. Control characters and broken UTF-8 never reach a terminal. A line that cannot be
// written at once (a full disk, a reader that is slow or gone) is lost: nothing waits for a log, and the next line that
// can be written is preceded by one that says how many are missing.
//
// Threads: any.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

#include "core/error.h"

namespace millrace {

inline constexpr std::size_t kLogValueBytesMax = 8 << 10;  // of a message or a field's value
inline constexpr std::size_t kLogFieldsMax = 64;

enum class LogLevel : std::uint8_t { debug, info, warn, error };
enum class LogFormat : std::uint8_t { text, json };

class Log {
 public:
  // A name and a value; numbers and booleans stay what they are in JSON.
  class Field {
   public:
    Field(std::string_view name, std::string_view value) : name_(name), text_(value) {}
    Field(std::string_view name, const std::string& value) : name_(name), text_(value) {}
    Field(std::string_view name, const char* value) : name_(name), text_(value) {}
    Field(std::string_view name, const Error& error);  // "not_found: bucket 'a' does not exist"
    Field(std::string_view name, bool value) : name_(name), text_(value ? "true" : "false"), is_number_(true) {}
    template <std::integral Number>
    Field(std::string_view name, Number value) : name_(name), text_(std::to_string(value)), is_number_(true) {}

    [[nodiscard]] std::string_view name() const { return name_; }
    [[nodiscard]] const std::string& text() const { return text_; }
    [[nodiscard]] bool is_number() const { return is_number_; }

   private:
    std::string_view name_;
    std::string text_;
    bool is_number_ = false;
  };
  using Fields = std::initializer_list<Field>;

  // Text is coloured when `fd` is a terminal and the environment variable NO_COLOR is unset or empty.
  struct Options {
    LogLevel level = LogLevel::info;
    LogFormat format = LogFormat::text;
    int fd = 2;
  };

  explicit Log(Options options);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  void debug(std::string_view message, Fields fields = {});
  void info(std::string_view message, Fields fields = {});
  void warn(std::string_view message, Fields fields = {});
  void error(std::string_view message, Fields fields = {});

  [[nodiscard]] bool enabled(LogLevel level) const;

 private:
  struct Impl;
  void write(LogLevel level, std::string_view message, Fields fields);
  std::unique_ptr<Impl> impl_;
};

}  // namespace millrace
