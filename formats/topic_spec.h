// What a function's definition says about topics: which it reads, and which of its results become events.
//
//   topics: [orders, {name: returns, from: new}]
//   output: [{topic: invoices, suffix: [".json"], mode: structured}]
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/function_spec.h"
#include "formats/json.h"
#include "formats/object_reader.h"

namespace millrace {

inline constexpr std::size_t kTopicsOfFunctionMax = 32;  // that it reads, and that it publishes on

[[nodiscard]] std::vector<TopicInputSpec> read_topics(ObjectReader& in);
[[nodiscard]] Json topics_json(const std::vector<TopicInputSpec>& topics);

// Whether an item of `output` names a topic.
[[nodiscard]] bool is_topic_output(const Json& item);
[[nodiscard]] TopicOutputSpec read_topic_output(const Json& item, const std::string& path, Diagnostics& problems);
[[nodiscard]] Json topic_output_json(const TopicOutputSpec& output);

// A list of prefixes, suffixes or globs, within kNamePatternsMax and kNamePatternBytesMax (formats/function_json.h).
[[nodiscard]] std::vector<std::string> read_patterns(ObjectReader& in, std::string_view key,
                                                     std::vector<std::string> fallback);

}  // namespace millrace
