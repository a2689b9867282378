// docs/reference/functions.md says what the parser does: every field, its type, its default and its bounds.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>

#include "core/provided_files.h"
#include "core/reserved_environment.h"
#include "formats/function_json.h"
#include "formats/topic_spec.h"
#include "tests/support/repository.h"
#include "tests/unit/formats/fdl_fixture.h"

namespace millrace {
namespace {

using test::fdl;
using test::one;
using test::problems_of;
using testing::HasSubstr;
using testing::UnorderedElementsAreArray;

struct Row {
  std::string field;
  std::string type;
  std::string fallback;
  std::string accepted;
};

std::string trimmed(std::string text) {
  std::erase(text, '`');
  text.erase(0, text.find_first_not_of(' '));
  text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

std::string page() {
  return test::repository_file("docs/reference/functions.md");
}

// Rows of tables whose first cell is a name in backticks.
std::vector<Row> rows_of_page() {
  std::vector<Row> rows;
  std::istringstream lines(page());
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("| `")) continue;
    std::vector<std::string> cells;
    std::istringstream parts(line.substr(1));
    for (std::string cell; std::getline(parts, cell, '|');) cells.push_back(trimmed(cell));
    EXPECT_GE(cells.size(), 4U) << line;
    cells.resize(4);
    rows.push_back({.field = cells[0], .type = cells[1], .fallback = cells[2], .accepted = cells[3]});
  }
  return rows;
}

// `value` where the field is, in a function that is fine otherwise.
std::string with(const Row& row, const std::string& value) {
  const auto dot = row.field.find('.');
  if (row.field == "name") return "functions: {millrace: [{script: thumb.sh, name: " + value + "}]}";
  if (row.field == "script") return "functions: {millrace: [{name: f, script: " + value + "}]}";
  if (dot == std::string::npos) return fdl(row.field + ": " + value);
  const std::string name = row.field.substr(dot + 1);
  std::string owner = row.field.substr(0, dot);
  if (!owner.ends_with("[]")) return fdl(owner + ": {" + name + ": " + value + "}");
  owner.resize(owner.size() - 2);
  const bool of_topic = name == "topic" || name == "mode";
  const std::string first = owner == "topics" ? "name: news" : of_topic ? "topic: news" : "path: place";
  const bool is_first = first.starts_with(name + ":");
  return fdl(owner + ": [{" + (is_first ? "" : first + ", ") + name + ": " + value + "}]");
}

void add_fields(const Json& json, const std::string& path, std::set<std::string>& fields) {
  for (const auto& member : json.members()) {
    const std::string field = path.empty() ? member.key : path + "." + member.key;
    const bool is_group = member.key == "limits" || member.key == "retry" || member.key == "recursion";
    const bool has_items =
        member.value.is_array() && !member.value.items().empty() && member.value.items().front().is_object();
    if (path.empty() || !is_group) fields.insert(field);
    if (is_group) add_fields(member.value, field, fields);
    if (!has_items) continue;
    for (const auto& item : member.value.items()) add_fields(item, field + "[]", fields);
  }
}

// What the state store keeps of a function that uses everything: whatever an author can write is in there.
std::set<std::string> fields_that_are_kept() {
  FunctionSpec spec =
      one("executor: oci\nruntime: runc\nenvironment: {A: 1}\nsecrets: {b: c}\nfiles: {/etc/d: e}\nlimits: {cpu: 1}\n"
          "recursion: {max_depth: 1}\ninput: [in]\ntopics: [news]\n"
          "output: [{path: out, prefix: [a], suffix: [b]}, {topic: results, mode: structured}]");
  std::set<std::string> fields;
  add_fields(to_full_json(spec), "", fields);
  for (const char* ours : {"uid", "revision", "memory_explicit", "network_explicit", "limits.pids_explicit"}) {
    EXPECT_EQ(fields.erase(ours), 1U) << ours;
    EXPECT_THAT(page(), HasSubstr("`" + std::string(ours) + "`"));
  }
  return fields;
}

std::string default_of(const std::string& field) {
  FunctionSpec untouched;
  const Json all = to_full_json(untouched);
  const auto dot = field.find('.');
  const Json* json = all.find(field.substr(0, dot));
  if (json != nullptr && dot != std::string::npos) json = json->find(field.substr(dot + 1));
  if (json == nullptr) return "none";
  if (const auto* text = json->string()) return text->empty() ? "none" : *text;
  if (!json->is_array()) return json->dump();
  std::string text;
  for (const auto& item : json->items()) text += (text.empty() ? "" : ", ") + *item.string();
  return text.empty() ? "none" : text;
}

TEST(FunctionReference, HasEveryFieldAndNoOther) {
  std::vector<std::string> fields;
  for (const auto& row : rows_of_page()) fields.push_back(row.field);
  EXPECT_THAT(fields, UnorderedElementsAreArray(fields_that_are_kept()));
}

TEST(FunctionReference, TellsEveryDefault) {
  for (const auto& row : rows_of_page()) {
    if (row.field.find("[]") != std::string::npos || row.type == "map") continue;
    const bool is_required = row.field == "name" || row.field == "script";
    EXPECT_EQ(row.fallback, is_required ? "required" : default_of(row.field)) << row.field;
  }
  for (const auto& row : rows_of_page()) {
    if (row.fallback != "required") continue;
    const auto problems = row.field.find("[]") == std::string::npos
                              ? problems_of("functions: {millrace: [{}]}")
                              : problems_of(fdl(row.field.substr(0, row.field.find('[')) + ": [{}]"));
    const std::string name = row.field.substr(row.field.find_last_of(".]") + 1);
    EXPECT_THAT(problems, testing::Contains(HasSubstr(name + ": is missing"))) << row.field;
  }
}

TEST(FunctionReference, TellsTheTypesAndBoundsThatTheParserKeeps) {
  struct Probe {
    std::string too_much;  // of any field of this type
    std::string says;      // to a value of another type
  };
  const std::map<std::string, Probe> probes{{"size", {"8191Pi", "must be a size"}},
                                            {"cpu", {"1000000", "must be an amount of cpu"}},
                                            {"time", {"3650d", "must be a duration"}},
                                            {"number", {"-1", "is not a whole number"}},
                                            {"choice", {"nonsense", "is not one of"}},
                                            {"yes/no", {"nonsense", "must be true or false"}},
                                            {"text", {"", "must be a text"}},
                                            {"list", {"", "must be an array"}},
                                            {"map", {"", "must be a"}}};
  for (const auto& row : rows_of_page()) {
    ASSERT_TRUE(probes.contains(row.type)) << row.field << ": " << row.type;
    const Probe& probe = probes.at(row.type);
    const auto mistyped = problems_of(with(row, row.type == "list" || row.type == "map" ? "7" : "[7]"));
    EXPECT_THAT(mistyped, testing::Contains(HasSubstr(probe.says))) << row.field;
    if (probe.too_much.empty()) continue;
    EXPECT_THAT(problems_of(with(row, probe.too_much)), testing::Contains(HasSubstr(row.accepted))) << row.field;
    EXPECT_FALSE(row.accepted.empty()) << row.field;
  }
}

TEST(FunctionReference, TellsTheBoundsOfTextsAndLists) {
  const std::map<std::string, std::vector<std::size_t>> bounds{
      {"name", {kFunctionNameMax}},
      {"script", {kScriptBytesMax}},
      {"environment", {kEnvironmentMax, kEnvironmentBytesMax}},
      {"secrets", {kSecretsMax, kSecretBytesMax, kSecretNameBytesMax}},
      {"files", {kFilesMax, kFileBytesMax, kFilesBytesMax, kFilePathBytesMax}},
      {"input", {kStoragePathsMax}},
      {"output", {kStoragePathsMax}},
      {"topics", {kTopicsOfFunctionMax}},
      {"ignore", {kNamePatternsMax, kNamePatternBytesMax}},
      {"output[].prefix", {kNamePatternsMax, kNamePatternBytesMax}},
      {"output[].suffix", {kNamePatternsMax, kNamePatternBytesMax}}};
  std::size_t found = 0;
  for (const auto& row : rows_of_page()) {
    if (!bounds.contains(row.field)) continue;
    ++found;
    for (const auto bound : bounds.at(row.field)) {
      EXPECT_THAT(row.accepted, testing::ContainsRegex("(^|[^0-9])" + std::to_string(bound) + "($|[^0-9])"))
          << row.field;
    }
  }
  EXPECT_EQ(found, bounds.size());
}

TEST(FunctionReference, HasEveryReservedVariableAndNoOther) {
  const std::string text = page();
  const auto begin = text.find("## Reserved variables");
  ASSERT_NE(begin, std::string::npos);
  const std::string section = text.substr(begin, text.find("\n## ", begin) - begin);
  std::vector<std::string> names;
  for (auto at = section.find('`'); at != std::string::npos; at = section.find('`', at)) {
    const auto end = section.find('`', at + 1);
    names.push_back(section.substr(at + 1, end - at - 1));
    at = end + 1;
  }
  std::erase(names, "environment");
  EXPECT_THAT(names, UnorderedElementsAreArray(kReservedEnvironment));
}

}  // namespace
}  // namespace millrace
