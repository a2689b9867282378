#include "formats/topic_spec.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "formats/function_json.h"
#include "formats/topic_name.h"

namespace millrace {
namespace {

constexpr const char* kExpected = "; expected 1 to 200 of a-z, 0-9, '.', '_' and '-', not starting with '.'";

void check_name(std::string_view name, const std::string& path, std::uint32_t line, Diagnostics& problems) {
  if (is_user_topic_name(name)) return;
  const std::string shown = "'" + std::string(name.substr(0, 64)) + "'";
  problems.add(line, path,
               name.starts_with(kWorkTopicPrefix) ? shown + " is the work topic of a function, which is ours"
                                                  : shown + " is not a topic's name" + kExpected);
}

std::optional<bool> from_start(std::string_view from) {
  if (from == "all") return true;
  return from == "new" ? std::optional(false) : std::nullopt;
}

TopicInputSpec read_topic(const Json& json, const std::string& path, Diagnostics& problems) {
  TopicInputSpec spec;
  if (json.is_string()) {
    spec.topic = *json.string();
    check_name(spec.topic, path, json.line(), problems);
    return spec;
  }
  ObjectReader in(json, path, problems);
  if (!json.is_object()) return spec;
  spec.topic = in.text("name");
  if (const Json* name = in.find("name")) check_name(spec.topic, in.path_of("name"), name->line(), problems);
  spec.from_start = in.choice("from", spec.from_start, from_start, "all, new");
  in.refuse_unknown();
  return spec;
}

std::optional<bool> is_structured(std::string_view mode) {
  if (mode == "structured") return true;
  return mode == "binary" ? std::optional(false) : std::nullopt;
}

}  // namespace

std::vector<std::string> read_patterns(ObjectReader& in, std::string_view key, std::vector<std::string> fallback) {
  auto patterns = in.texts(key, std::move(fallback));
  if (patterns.size() > kNamePatternsMax) {
    in.problem(key, "has more than " + std::to_string(kNamePatternsMax) + " entries");
  }
  for (const auto& pattern : patterns) {
    if (!pattern.empty() && pattern.size() <= kNamePatternBytesMax) continue;
    in.problem(key, "an entry has " + std::to_string(pattern.size()) + " bytes; expected 1 to " +
                        std::to_string(kNamePatternBytesMax));
  }
  return patterns;
}

std::vector<TopicInputSpec> read_topics(ObjectReader& in) {
  std::vector<TopicInputSpec> all;
  const Json* json = in.find("topics");
  if (json == nullptr) return all;
  if (json->is_string()) {
    all.push_back(read_topic(*json, in.path_of("topics"), in.problems()));
    return all;
  }
  const auto& items = in.array("topics");
  if (items.size() > kTopicsOfFunctionMax) {
    in.problem("topics", "has more than " + std::to_string(kTopicsOfFunctionMax) + " items");
  }
  for (std::size_t i = 0; i < std::min(items.size(), kTopicsOfFunctionMax); ++i) {
    auto topic = read_topic(items[i], in.path_of("topics", i), in.problems());
    const bool is_twice = std::ranges::find(all, topic.topic, &TopicInputSpec::topic) != all.end();
    if (is_twice && !topic.topic.empty()) in.problem("topics", "'" + topic.topic + "' is there twice");
    all.push_back(std::move(topic));
  }
  return all;
}

Json topics_json(const std::vector<TopicInputSpec>& topics) {
  Json list = Json::array();
  for (const auto& each : topics) {
    list.append(Json::object({{"name", each.topic}, {"from", each.from_start ? "all" : "new"}}));
  }
  return list;
}

bool is_topic_output(const Json& item) {
  return item.find("topic") != nullptr;
}

TopicOutputSpec read_topic_output(const Json& item, const std::string& path, Diagnostics& problems) {
  ObjectReader in(item, path, problems);
  TopicOutputSpec spec;
  spec.topic = in.text("topic");
  if (const Json* topic = in.find("topic")) check_name(spec.topic, in.path_of("topic"), topic->line(), problems);
  for (const std::string_view key : {"path", "storage_provider"}) {
    if (in.find(key) != nullptr) in.problem(key, "an output is either a topic or a path: write two items");
  }
  spec.prefix = read_patterns(in, "prefix", {});
  spec.suffix = read_patterns(in, "suffix", {});
  spec.structured = in.choice("mode", spec.structured, is_structured, "binary, structured");
  in.refuse_unknown();
  return spec;
}

Json topic_output_json(const TopicOutputSpec& output) {
  Json json = Json::object({{"topic", output.topic}});
  if (!output.prefix.empty()) json.set("prefix", Json::Array(output.prefix.begin(), output.prefix.end()));
  if (!output.suffix.empty()) json.set("suffix", Json::Array(output.suffix.begin(), output.suffix.end()));
  if (output.structured) json.set("mode", "structured");
  return json;
}

}  // namespace millrace
