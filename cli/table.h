// Tables for people: columns as wide as their widest cell, two spaces apart, no lines.
//
//   Table table({{"FUNCTION"}, {"RUNS", Align::right}, {"OUTCOME"}});
//   table.add({"resize", "12", {"succeeded", Tone::good}});
//   print(table.to_text(colours));
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace millrace::cli {

enum class Align : std::uint8_t { left, right };
enum class Tone : std::uint8_t { plain, good, bad, weak };

struct Column {
  std::string title;
  Align align = Align::left;
};

// Text and how it is meant. NOLINTBEGIN(google-explicit-constructor): most cells are plain text.
struct Cell {
  Cell() = default;
  Cell(std::string plain) : text(std::move(plain)) {}
  Cell(const char* plain) : text(plain) {}
  Cell(std::string cell_text, Tone cell_tone) : text(std::move(cell_text)), tone(cell_tone) {}

  std::string text;
  Tone tone = Tone::plain;
};
// NOLINTEND(google-explicit-constructor)

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // As many cells as columns; missing ones are empty. Control characters are shown as '?'.
  void add(std::vector<Cell> cells);

  [[nodiscard]] std::string to_text(bool colours = false) const;
  [[nodiscard]] bool empty() const { return rows_.empty(); }

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

// `text` in the colour of its tone, for a terminal.
[[nodiscard]] std::string painted(std::string_view text, Tone tone);

// How an outcome or a state is meant.
[[nodiscard]] Tone tone_of(std::string_view outcome);

// "1.5 KiB", "640 MiB"; three digits at most.
[[nodiscard]] std::string human_bytes(std::uint64_t bytes);

// "85 us", "12.3 ms", "1.25 s", "3m 20s".
[[nodiscard]] std::string human_duration_us(std::uint64_t microseconds);

}  // namespace millrace::cli
