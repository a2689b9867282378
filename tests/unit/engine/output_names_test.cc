#include "engine/output_names.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "storage/object_store.h"

namespace millrace {
namespace {

OutputSpec to(const std::string& path, std::vector<std::string> prefix = {}, std::vector<std::string> suffix = {}) {
  return {.storage = {.provider = "local", .path = path}, .prefix = std::move(prefix), .suffix = std::move(suffix)};
}

Sealed left(const std::vector<std::string>& names) {
  Sealed sealed;
  for (const auto& name : names) {
    sealed.files.push_back({.name = name,
                            .source_path = "source/" + name,
                            .placed = {.size_bytes = 1, .mtime_ns = 2, .inode = 3},
                            .private_path = "private/" + name,
                            .version = {.size_bytes = 4, .mtime_ns = 5, .inode = 6},
                            .sha256 = "hash of " + name});
  }
  return sealed;
}

Event about(const std::string& key) {
  Event event;
  event.id = EventId("event-1");
  event.object = ObjectRef{.bucket = "in", .key = key, .version = {}, .private_path = {}};
  return event;
}

std::vector<std::string> names(const std::vector<OutputSpec>& outputs, const Event& event,
                               const std::vector<std::string>& files) {
  FunctionSpec function;
  function.outputs = outputs;
  std::vector<std::string> places;
  for (const auto& output : name_outputs(function, event, RunId("run-1"), left(files))) {
    places.push_back(output.bucket + ":" + output.key);
  }
  return places;
}

using Names = std::vector<std::string>;

TEST(OutputNames, AFileAppearsBelowTheOutputsFolderUnderItsOwnName) {
  EXPECT_EQ(names({to("out")}, about("a"), {"x", "sub/y"}), (Names{"out:x", "out:sub/y"}));
  EXPECT_EQ(names({to("out/deep/er")}, about("a"), {"x"}), (Names{"out:deep/er/x"}));
}

TEST(OutputNames, NothingLeftOrNowhereToGoIsNoOutput) {
  EXPECT_TRUE(names({to("out")}, about("a"), {}).empty());
  EXPECT_TRUE(names({}, about("a"), {"x"}).empty());
}

TEST(OutputNames, EveryFieldOfTheSealedFileIsKept) {
  FunctionSpec function;
  function.outputs = {to("out/f")};
  const auto outputs = name_outputs(function, about("a"), RunId("run-1"), left({"x"}));
  ASSERT_EQ(outputs.size(), 1U);
  EXPECT_EQ(outputs[0].name, "x");
  EXPECT_EQ(outputs[0].store, "local");
  EXPECT_EQ(outputs[0].source_path, "source/x");
  EXPECT_EQ(outputs[0].private_path, "private/x");
  EXPECT_EQ(outputs[0].placed, (ObjectVersion{.size_bytes = 1, .mtime_ns = 2, .inode = 3}));
  EXPECT_EQ(outputs[0].version, (ObjectVersion{.size_bytes = 4, .mtime_ns = 5, .inode = 6}));
  EXPECT_EQ(outputs[0].sha256, "hash of x");
}

TEST(OutputNames, PrefixAndSuffixFilterTheWholeRelativeName) {
  const Names files{"a.jpg", "a.txt", "b.jpg", "sub/a.jpg"};
  EXPECT_EQ(names({to("out", {"a"})}, about("k"), files), (Names{"out:a.jpg", "out:a.txt"}));
  EXPECT_EQ(names({to("out", {}, {".jpg"})}, about("k"), files), (Names{"out:a.jpg", "out:b.jpg", "out:sub/a.jpg"}));
  EXPECT_EQ(names({to("out", {"a"}, {".jpg"})}, about("k"), files), (Names{"out:a.jpg"}));
  EXPECT_EQ(names({to("out", {"b", "sub/"}, {".txt", ".jpg"})}, about("k"), files),
            (Names{"out:b.jpg", "out:sub/a.jpg"}));
  EXPECT_TRUE(names({to("out", {"A"})}, about("k"), files).empty()) << "case counts";
}

TEST(OutputNames, AFilterAsLongAsTheNameMatchesAndALongerOneDoesNot) {
  EXPECT_EQ(names({to("out", {"ab"}, {"ab"})}, about("k"), {"ab"}), (Names{"out:ab"}));
  EXPECT_TRUE(names({to("out", {"abc"})}, about("k"), {"ab"}).empty());
  EXPECT_TRUE(names({to("out", {}, {"cab"})}, about("k"), {"ab"}).empty());
}

// Indexes of outputs are part of the ids of the events about them: they must not depend on the attempt.
TEST(OutputNames, AFileMatchesSeveralOutputsAndTheOrderIsOutputsFirstThenFiles) {
  EXPECT_EQ(names({to("one"), to("two", {}, {".jpg"}), to("three")}, about("k"), {"a.jpg", "b.txt"}),
            (Names{"one:a.jpg", "one:b.txt", "two:a.jpg", "three:a.jpg", "three:b.txt"}));
}

TEST(OutputNames, PlaceholdersStandForRunEventAndInput) {
  EXPECT_EQ(names({to("out/{run}")}, about("k"), {"x"}), (Names{"out:run-1/x"}));
  EXPECT_EQ(names({to("out/{event}/f")}, about("k"), {"x"}), (Names{"out:event-1/f/x"}));
  EXPECT_EQ(names({to("out/{name}/{name}-{run}")}, about("sub/video.avi"), {"x"}), (Names{"out:video/video-run-1/x"}));
  EXPECT_EQ(names({to("out/{other}/{RUN}")}, about("k"), {"x"}), (Names{"out:{other}/{RUN}/x"}));
}

TEST(OutputNames, NameIsTheInputsBaseNameWithoutItsLastExtension) {
  const auto stem = [](const std::string& key) { return names({to("out/{name}")}, about(key), {"x"}).at(0); };
  EXPECT_EQ(stem("a"), "out:a/x");
  EXPECT_EQ(stem("a.tar.gz"), "out:a.tar/x");
  EXPECT_EQ(stem("deep/er/a.jpg"), "out:a/x");
  EXPECT_EQ(stem("a.b/c"), "out:c/x") << "the dot of a folder is none of the name's";
  EXPECT_EQ(stem(".hidden"), "out:.hidden/x") << "a leading dot is no extension";
  EXPECT_EQ(stem("a."), "out:a/x");
}

TEST(OutputNames, AHostileInputNameMakesNoFolderThatIsNone) {
  const struct {
    const char* input;
    const char* key;
  } cases[] = {{"..b", "..b/x"},
               {"...b", "...b/x"},
               {"deep/...", ".../x"},
               {"deep/..", "event/x"},
               {"deep/.", "event/x"},
               {"deep/", "event/x"},
               {"", "event/x"},
               {".millrace.b", ".millrace.b/x"},
               {"deep/.millrace", "event/x"}};
  for (const auto& [input, key] : cases) {
    EXPECT_EQ(names({to("out/{name}")}, about(input), {"x"}).at(0), "out:" + std::string(key)) << input;
    EXPECT_TRUE(check_key(key)) << key;
  }
}

TEST(OutputNames, AnEventWithoutAnObjectIsCalledEvent) {
  Event event;
  event.id = EventId("event-1");
  EXPECT_EQ(names({to("out/{name}")}, event, {"x"}), (Names{"out:event/x"}));
}

TEST(OutputNames, APlaceholderInTheInputsNameIsOnlyText) {
  EXPECT_EQ(names({to("out/{name}")}, about("{name}{run}.jpg"), {"x"}), (Names{"out:{name}{run}/x"}));
}

TEST(OutputNames, AFilesOwnNameIsNotExpanded) {
  EXPECT_EQ(names({to("out")}, about("k"), {"{run}"}), (Names{"out:{run}"}));
}

}  // namespace
}  // namespace millrace
