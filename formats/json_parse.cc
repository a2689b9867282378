#include <cstddef>
#include <iterator>
#include <nlohmann/json.hpp>

#include "formats/json.h"

namespace millrace {
namespace {

// Where the library's lexer is in the text.
struct Position {
  std::uint32_t line = 1;
  std::uint32_t column = 0;         // of the last character taken, from 1
  std::uint32_t column_before = 0;  // of the one before, where that ended a line
  bool after_newline = false;       // the last character taken was one

  void take(char c) {
    if (after_newline) column = 0;
    after_newline = c == '\n';
    if (after_newline) {
      ++line;
      column_before = column;
    }
    ++column;
  }

  // Where the token ended that was just read: after a number the lexer has already taken one character more.
  [[nodiscard]] std::uint32_t token_line() const { return after_newline ? line - 1 : line; }
  [[nodiscard]] std::uint32_t token_column() const { return after_newline ? column_before : column; }
};

// Hands the text to the library character by character and keeps count of the lines.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, Position* position) : at_(at), position_(position) {}

  const char& operator*() const { return *at_; }
  CountingIterator& operator++() {
    position_->take(*at_);
    ++at_;
    return *this;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }

 private:
  const char* at_;
  Position* position_;
};

// The library's message without its own numbering and without bytes of the document, which may be secrets:
// "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error ...; last read: '...'; expected ...".
std::string clean(std::string_view text) {
  constexpr std::string_view kRead = "; last read: '";
  if (const auto end = text.find(": "); end != std::string_view::npos) text.remove_prefix(end + 2);
  std::string message(text);
  if (const auto read = message.find(kRead); read != std::string::npos) {
    const auto expected = message.rfind("'; expected ");
    const auto end = expected == std::string::npos || expected < read ? message.size() : expected + 1;
    message.erase(read, end - read);
  }
  return message;
}

// Builds a Json from the library's events. A false from any of them ends the parsing with problem().
class Builder {
 public:
  using number_integer_t = nlohmann::json::number_integer_t;
  using number_unsigned_t = nlohmann::json::number_unsigned_t;
  using number_float_t = nlohmann::json::number_float_t;
  using string_t = nlohmann::json::string_t;
  using binary_t = nlohmann::json::binary_t;

  explicit Builder(const Position& position) : position_(position) {}

  bool null() { return add(Json()); }
  bool boolean(bool value) { return add(Json(value)); }
  bool number_integer(number_integer_t value) { return add(Json(value)); }
  bool number_unsigned(number_unsigned_t value) { return add(Json(value)); }
  bool number_float(number_float_t value, const string_t& text) { return add(Json::number_as_written(value, text)); }
  bool string(string_t& value) { return add(Json(std::move(value))); }
  bool binary(binary_t&) { return refuse("binary data is not JSON"); }
  bool start_object(std::size_t) { return open(Json::object()); }
  bool start_array(std::size_t) { return open(Json::array()); }
  bool end_array() { return close(); }

  bool key(string_t& key) {
    keys_.push_back({.key = std::move(key), .value = {}, .line = position_.token_line()});
    return true;
  }

  bool end_object() {
    if (const auto twice = duplicate_key(open_.back().members())) {
      return refuse("key '" + std::string(twice->substr(0, 64)) + "' is there twice in the object that ends here");
    }
    return close();
  }

  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception& error) {
    constexpr int kNumberOverflow = 406;  // the library's own code
    return refuse(error.id == kNumberOverflow ? "a number is too large" : clean(error.what()));
  }

  [[nodiscard]] const std::string& problem() const { return problem_; }
  [[nodiscard]] Json take() { return std::move(root_); }

 private:
  bool refuse(const std::string& what) {
    problem_ = "line " + std::to_string(position_.token_line()) + ", column " +
               std::to_string(position_.token_column()) + ": " + what;
    return false;
  }

  bool open(Json container) {
    if (open_.size() >= kJsonDepthMax) {
      return refuse("nested deeper than " + std::to_string(kJsonDepthMax) + " levels");
    }
    container.set_line(position_.token_line());
    open_.push_back(std::move(container));
    return true;
  }

  bool close() {
    Json done = std::move(open_.back());
    open_.pop_back();
    return attach(std::move(done));
  }

  bool add(Json value) {
    value.set_line(position_.token_line());
    return attach(std::move(value));
  }

  bool attach(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (open_.back().is_array()) {
      open_.back().append(std::move(value));
    } else {
      keys_.back().value = std::move(value);
      open_.back().append_member(std::move(keys_.back()));
      keys_.pop_back();
    }
    return true;
  }

  const Position& position_;
  Json root_;
  std::vector<Json> open_;          // from the outermost container to the innermost
  std::vector<Json::Member> keys_;  // of open objects, waiting for their values
  std::string problem_;
};

}  // namespace

Result<Json> parse_json(std::string_view text, std::size_t bytes_max) {
  if (text.size() > bytes_max) {
    return fail(Errc::too_large, "a JSON document of " + std::to_string(text.size()) + " bytes; at most " +
                                     std::to_string(bytes_max) + " are accepted here");
  }
  Position position;
  Builder builder(position);
  const CountingIterator begin(text.data(), &position);
  const CountingIterator end(text.data() + text.size(), &position);
  bool ok = false;
  try {
    ok = nlohmann::json::sax_parse(begin, end, &builder);
  } catch (const std::exception& error) {
    return fail(Errc::internal, std::string("the JSON library failed: ") + error.what());
  }
  if (!ok) return fail(Errc::invalid_argument, "not valid JSON: " + builder.problem());
  return builder.take();
}

}  // namespace millrace
