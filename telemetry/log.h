// The log facade: one line per thing that happened, readable text or JSON lines, on stderr.
//
//   log.info("function applied", {{"function", spec.name}, {"revision", spec.revision}});
//   log.warn("publish failed", {{"topic", topic}, {"error", error}});
//
// An error is logged where it is handled, once. Secrets, tokens and payloads never. Hot-path lines are debug.
// Threads: any.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

#include "core/error.h"

namespace millrace {

enum class LogLevel : std::uint8_t { debug, info, warn, error };
enum class LogFormat : std::uint8_t { text, json };

class Log {
 public:
  // A name and a value; numbers stay numbers in JSON.
  class Field {
   public:
    Field(std::string_view name, std::string_view value) : name_(name), text_(value) {}
    Field(std::string_view name, const std::string& value) : name_(name), text_(value) {}
    Field(std::string_view name, const char* value) : name_(name), text_(value) {}
    Field(std::string_view name, const Error& error);  // "not_found: bucket 'a' does not exist"
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
