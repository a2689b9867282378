// Everything that is wrong with a document, not only the first thing: each problem with its line and its place in the
// document.
//
//   Diagnostics problems;
//   auto functions = read(document, problems);
//   if (!problems.empty()) return fail(problems.to_error("thumbs.yaml"));
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace millrace {

struct Diagnostic {
  std::uint32_t line = 0;  // from 1; 0: unknown
  std::string path;        // "functions.millrace[1].memory"; empty: the document
  std::string text;        // what was found and what was expected

  bool operator==(const Diagnostic&) const = default;
};

// "line 12: functions.millrace[1].memory: '5 apples' is not a size; ...".
[[nodiscard]] std::string to_text(const Diagnostic& diagnostic);

// Problems kept; of further ones only the number is known.
inline constexpr std::size_t kDiagnosticsMax = 50;

class Diagnostics {
 public:
  void add(std::uint32_t line, std::string path, std::string text);

  [[nodiscard]] bool empty() const { return items_.empty(); }
  [[nodiscard]] const std::vector<Diagnostic>& items() const { return items_; }
  [[nodiscard]] std::size_t count() const { return count_; }  // those not kept included

  // invalid_argument: "<what>: <problem>", or "<what>: 3 problems" and a line for each.
  [[nodiscard]] Error to_error(std::string_view what) const;

 private:
  std::vector<Diagnostic> items_;
  std::size_t count_ = 0;
};

// Of `names` the one that `word` was probably meant to be: at most two edits away, and fewer than half its letters.
[[nodiscard]] std::optional<std::string_view> nearest_name(std::string_view word,
                                                           std::span<const std::string_view> names);

}  // namespace millrace
