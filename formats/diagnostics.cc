#include "formats/diagnostics.h"

#include <algorithm>
#include <utility>

namespace millrace {
namespace {

constexpr std::size_t kEditsMax = 2;
constexpr std::size_t kNameMax = 64;  // longer words are no typing mistake of a field's name

// Letters to insert, remove, change, or swap with their neighbour to make `b` of `a`.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before;
  std::vector<std::size_t> previous(b.size() + 1);
  for (std::size_t j = 0; j < previous.size(); ++j) previous[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::vector<std::size_t> row(b.size() + 1, i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({change, previous[j] + 1, row[j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before = std::exchange(previous, std::move(row));
  }
  return previous[b.size()];
}

}  // namespace

std::string to_text(const Diagnostic& diagnostic) {
  std::string text;
  if (diagnostic.line != 0) text += "line " + std::to_string(diagnostic.line) + ": ";
  if (!diagnostic.path.empty()) text += diagnostic.path + ": ";
  return text + diagnostic.text;
}

void Diagnostics::add(std::uint32_t line, std::string path, std::string text) {
  ++count_;
  if (items_.size() < kDiagnosticsMax) items_.push_back({line, std::move(path), std::move(text)});
}

Error Diagnostics::to_error(std::string_view what) const {
  Error error{.code = Errc::invalid_argument, .message = std::string(what) + ": "};
  if (count_ == 1) {
    error.message += to_text(items_.front());
    return error;
  }
  error.message += std::to_string(count_) + " problems";
  for (const auto& item : items_) error.message += "\n  " + to_text(item);
  if (count_ > items_.size()) error.message += "\n  and " + std::to_string(count_ - items_.size()) + " more";
  return error;
}

std::optional<std::string_view> nearest_name(std::string_view word, std::span<const std::string_view> names) {
  if (word.size() > kNameMax) return std::nullopt;
  std::optional<std::string_view> best;
  std::size_t best_distance = std::min(kEditsMax, (word.size() - std::min<std::size_t>(word.size(), 1)) / 2) + 1;
  for (const auto name : names) {
    const std::size_t distance = edit_distance(word, name);
    if (distance >= best_distance) continue;
    best = name;
    best_distance = distance;
  }
  return best;
}

}  // namespace millrace
