#include "cli/table.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "cli/text.h"

namespace millrace::cli {
namespace {

// Characters, not bytes: continuation bytes of UTF-8 take no column.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

void append_cell(std::string& line, const Cell& cell, std::size_t width, Align align, bool last, bool colours) {
  const std::string space(width - std::min(width, width_of(cell.text)), ' ');
  const std::string text = colours ? painted(cell.text, cell.tone) : cell.text;
  if (align == Align::right) {
    line += space + text;
  } else {
    line += text;
    if (!last) line += space;  // no blanks at the end of a line
  }
}

}  // namespace

void Table::add(std::vector<Cell> cells) {
  cells.resize(columns_.size());
  for (auto& cell : cells) cell.text = printable(cell.text);
  rows_.push_back(std::move(cells));
}

std::string Table::to_text(bool colours) const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::size_t width = width_of(columns_[i].title);
    for (const auto& row : rows_) width = std::max(width, width_of(row[i].text));
    widths.push_back(width);
  }
  std::string text;
  const auto add_line = [&](const auto& cell_of) {
    std::string line;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (i > 0) line += "  ";
      append_cell(line, cell_of(i), widths[i], columns_[i].align, i + 1 == columns_.size(), colours);
    }
    while (line.ends_with(' ')) line.pop_back();  // an empty last cell leaves those between the columns
    text += line + '\n';
  };
  add_line([&](std::size_t i) { return Cell(columns_[i].title, Tone::weak); });
  for (const auto& row : rows_) add_line([&](std::size_t i) -> const Cell& { return row[i]; });
  return text;
}

std::string painted(std::string_view text, Tone tone) {
  if (tone == Tone::plain || text.empty()) return std::string(text);
  const std::string_view code = tone == Tone::good ? "32" : tone == Tone::bad ? "31" : "2";
  return fmt::format("\033[{}m{}\033[0m", code, text);
}

Tone tone_of(std::string_view outcome) {
  if (outcome == "succeeded") return Tone::good;
  if (outcome == "skipped" || outcome == "cancelled" || outcome == "queued") return Tone::weak;
  constexpr std::array<std::string_view, 6> kBad{"dead_lettered", "failed",           "timed_out",
                                                 "out_of_memory", "output_too_large", "lost"};
  return std::ranges::find(kBad, outcome) == kBad.end() ? Tone::plain : Tone::bad;
}

std::string human_bytes(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 6> kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  // 1023.5 would be shown as 1024.
  while (value >= 1023.5 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  if (unit == 0) return fmt::format("{} B", bytes);
  return value < 9.95 ? fmt::format("{:.1f} {}", value, kUnits[unit]) : fmt::format("{:.0f} {}", value, kUnits[unit]);
}

std::string human_duration_us(std::uint64_t microseconds) {
  if (microseconds < 1'000) return fmt::format("{} us", microseconds);
  const double ms = static_cast<double>(microseconds) / 1e3;
  if (ms < 999.95) return fmt::format("{:.1f} ms", ms);
  const double seconds = ms / 1e3;
  if (seconds < 119.995) return fmt::format("{:.2f} s", seconds);
  const auto whole = (microseconds + 500'000) / 1'000'000;
  return fmt::format("{}m {}s", whole / 60, whole % 60);
}

}  // namespace millrace::cli
