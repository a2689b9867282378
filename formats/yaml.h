// YAML (or JSON, which is YAML) into Json, and the door to the YAML library. Every value knows its line.
//
//   Diagnostics problems;
//   const auto document = parse_yaml(text, {}, problems);
//   if (!document) return fail(problems.to_error("millrace.yaml"));     // "millrace.yaml: line 7: ..."
//
// Plain scalars have the types of YAML 1.2's core schema (yes and no are texts; ObjectReader::boolean understands
// them). One document; aliases and merge keys (`<<`) are replaced by what they stand for; keys are texts and unique.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "formats/diagnostics.h"
#include "formats/json.h"

namespace millrace {

inline constexpr std::size_t kYamlBytesMax = 8 << 20;
// Bounds of the document with every alias replaced; nesting is bounded by kJsonDepthMax.
inline constexpr std::size_t kYamlNodesMax = 200'000;
inline constexpr std::size_t kYamlTextBytesMax = 8 << 20;

struct YamlOptions {
  // Below a key of these names plain scalars stay the text they were written as: `VERSION: 1.10` is not 1.1 there.
  std::vector<std::string_view> verbatim;
};

// Nothing, and one problem that says why, when the text cannot be read or breaks a bound.
[[nodiscard]] std::optional<Json> parse_yaml(std::string_view text, const YamlOptions& options, Diagnostics& problems);

}  // namespace millrace
