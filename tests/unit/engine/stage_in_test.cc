#include "engine/stage_in.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>
#include <csignal>

#include <array>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "async/uv_event_loop.h"
#include "core/reserved_environment.h"
#include "tests/support/engine_rig.h"
#include "tests/support/run_task.h"
#include "tests/support/temp_dir.h"

namespace millrace {
namespace {

const RunId kRun("0123456789abcdef0123456789abcdef");

class StageInTest : public testing::Test {
 protected:
  static std::shared_ptr<const FunctionSpec> function(bool stage_in = true) {
    FunctionSpec spec = EngineParts::function("copy", "in");
    spec.stage_in = stage_in;
    spec.environment = {{"MINE", "1"}, {"REQUEST_ID", "forged"}};
    return std::make_shared<const FunctionSpec>(spec);
  }
  static Event about(ObjectRef object) {
    Event event;
    event.id = EventId("event-1");
    event.time = std::chrono::system_clock::time_point(std::chrono::seconds(1'700'000'000));
    event.object = std::move(object);
    return event;
  }
  ObjectRef private_copy() {
    ObjectRef object = rig_.parts.storage.put("in", "a");
    object.private_path = "in/.millrace/run/a";
    object.version = rig_.parts.storage.put_private(object.private_path);
    return object;
  }
  Result<StagedIn> stage(Event event, bool stage_in = true) {
    return rig_.wait(rig_.parts.stage_in.stage(function(stage_in), std::move(event), kRun));
  }

  EngineRig rig_;
  FakeStorage& storage_ = rig_.parts.storage;
};

TEST_F(StageInTest, TheEnvironmentTellsWhatRunsOnWhat) {
  const auto staged = stage(about(storage_.put("in", "sub/a.txt")));
  ASSERT_TRUE(staged) << staged.error().message;
  const auto& environment = staged->environment;
  for (const char* name : {"REQUEST_ID", "JOB_UUID", "RESOURCE_ID", "MILLRACE_RUN_ID"}) {
    ASSERT_TRUE(environment.contains(name)) << name;
    EXPECT_EQ(environment.at(name), kRun.str()) << name;
  }
  EXPECT_EQ(environment.at("OSCAR_SERVICE_NAME"), "copy");
  EXPECT_EQ(environment.at("MILLRACE_FUNCTION"), "copy");
  EXPECT_EQ(environment.at("MILLRACE_EVENT_ID"), "event-1");
  EXPECT_EQ(environment.at("STORAGE_OBJECT_KEY"), "sub/a.txt");
  EXPECT_NE(environment.at("EVENT_TIME").find("2023-11-14T22:13:20"), std::string::npos);
  EXPECT_EQ(environment.at("MINE"), "1") << "the function's own variables are there too";
}

TEST_F(StageInTest, EveryVariableThatIsSetIsReserved) {
  Event call;
  call.id = EventId("event-1");
  call.data = "body";
  call.type = call.source = call.subject = call.content_type = "x";
  for (const auto& event : {about(storage_.put("in", "a")), call}) {
    const auto staged = stage(event, false);
    ASSERT_TRUE(staged) << staged.error().message;
    for (const auto& [name, value] : staged->environment) EXPECT_EQ(is_reserved_variable(name), name != "MINE") << name;
  }
}

TEST_F(StageInTest, TheInputIsTheVeryObjectUnderItsBaseName) {
  const auto staged = stage(about(storage_.put("in", "sub/a.txt")));
  ASSERT_TRUE(staged);
  ASSERT_EQ(staged->inputs.size(), 1U);
  EXPECT_EQ(staged->inputs[0].name, "a.txt");
  EXPECT_TRUE(staged->inputs[0].fd);
}

TEST_F(StageInTest, AStorageNotificationIsOnStdinAndInTheEnvironment) {
  const auto staged = stage(about(storage_.put("in", "sub/a.txt")));
  ASSERT_TRUE(staged);
  EXPECT_NE(staged->stdin_bytes.find("\"Records\""), std::string::npos) << staged->stdin_bytes;
  EXPECT_NE(staged->stdin_bytes.find("a.txt"), std::string::npos);
  EXPECT_EQ(staged->environment.at("EVENT"), staged->stdin_bytes);
}

TEST_F(StageInTest, AFunctionThatFetchesForItselfGetsNoFileAndNoErrorForAMissingOne) {
  ObjectRef object = storage_.put("in", "a");
  storage_.take_away("in", "a");
  const auto staged = stage(about(std::move(object)), false);
  ASSERT_TRUE(staged) << staged.error().message;
  EXPECT_TRUE(staged->inputs.empty());
  EXPECT_EQ(staged->environment.at("STORAGE_OBJECT_KEY"), "a");
  EXPECT_EQ(storage_.calls(StorageCall::open), 0);
}

TEST_F(StageInTest, AUsersObjectThatIsGoneIsNotFound) {
  ObjectRef object = storage_.put("in", "a");
  storage_.take_away("in", "a");
  const auto staged = stage(about(std::move(object)));
  ASSERT_FALSE(staged);
  EXPECT_EQ(staged.error().code, Errc::not_found);
  EXPECT_NE(staged.error().message.find("in/a"), std::string::npos) << staged.error().message;
}

TEST_F(StageInTest, AUsersObjectThatWasReplacedIsAFailedPrecondition) {
  ObjectRef object = storage_.put("in", "a");
  storage_.put("in", "a");
  const auto staged = stage(about(std::move(object)));
  ASSERT_FALSE(staged);
  EXPECT_EQ(staged.error().code, Errc::failed_precondition);
  EXPECT_NE(staged.error().message.find("in/a was replaced"), std::string::npos) << staged.error().message;
}

TEST_F(StageInTest, EverySingleDifferenceOfTheVersionIsAReplacement) {
  const ObjectRef object = storage_.put("in", "a");
  for (int field = 0; field < 3; ++field) {
    ObjectRef other = object;
    if (field == 0) ++other.version.size_bytes;
    if (field == 1) ++other.version.mtime_ns;
    if (field == 2) ++other.version.inode;
    const auto staged = stage(about(std::move(other)));
    ASSERT_FALSE(staged) << field;
    EXPECT_EQ(staged.error().code, Errc::failed_precondition) << field;
  }
}

TEST_F(StageInTest, APrivateCopyIsReadWhateverBecameOfTheUsersName) {
  ObjectRef object = private_copy();
  storage_.take_away("in", "a");
  const auto staged = stage(about(std::move(object)));
  ASSERT_TRUE(staged) << staged.error().message;
  EXPECT_EQ(staged->inputs.at(0).name, "a");
  EXPECT_EQ(staged->environment.at("STORAGE_OBJECT_KEY"), "a");
}

TEST_F(StageInTest, APrivateCopyThatIsGoneOrNoFileIsDataLossNamingIt) {
  ObjectRef object = private_copy();
  object.private_path = "in/.millrace/run/gone";
  auto staged = stage(about(object));
  ASSERT_FALSE(staged);
  EXPECT_EQ(staged.error().code, Errc::data_loss);
  EXPECT_NE(staged.error().message.find("in/.millrace/run/gone"), std::string::npos) << staged.error().message;

  storage_.fail_next(StorageCall::open, 1, {.code = Errc::failed_precondition, .message = "a link"});
  staged = stage(about(private_copy()));
  ASSERT_FALSE(staged);
  EXPECT_EQ(staged.error().code, Errc::data_loss);
}

TEST_F(StageInTest, APrivateCopyThatWasChangedIsDataLossNamingIt) {
  ObjectRef object = private_copy();
  storage_.put_private(object.private_path);
  const auto staged = stage(about(std::move(object)));
  ASSERT_FALSE(staged);
  EXPECT_EQ(staged.error().code, Errc::data_loss);
  EXPECT_NE(staged.error().message.find("was changed: in/.millrace/run/a"), std::string::npos)
      << staged.error().message;
}

TEST_F(StageInTest, OtherTroubleKeepsItsCodeForUsersAndPrivateObjectsAlike) {
  for (const auto code : {Errc::unavailable, Errc::permission_denied, Errc::resource_exhausted}) {
    storage_.fail_next(StorageCall::open, 1, {.code = code, .message = "cause"});
    auto staged = stage(about(storage_.put("in", "a")));
    ASSERT_FALSE(staged);
    EXPECT_EQ(staged.error().code, code);
    EXPECT_EQ(staged.error().message, "input in/a: cause");
    storage_.fail_next(StorageCall::open, 1, {.code = code, .message = "cause"});
    staged = stage(about(private_copy()));
    ASSERT_FALSE(staged);
    EXPECT_EQ(staged.error().code, code);
  }
}

TEST_F(StageInTest, UnchangedComparesAgainAfterTheRun) {
  const ObjectRef object = storage_.put("in", "a");
  EXPECT_TRUE(rig_.wait(rig_.parts.stage_in.unchanged(object)));
  storage_.put("in", "a");
  auto same = rig_.wait(rig_.parts.stage_in.unchanged(object));
  ASSERT_FALSE(same);
  EXPECT_EQ(same.error().code, Errc::failed_precondition);
  storage_.take_away("in", "a");
  same = rig_.wait(rig_.parts.stage_in.unchanged(object));
  ASSERT_FALSE(same);
  EXPECT_EQ(same.error().code, Errc::not_found);
}

TEST_F(StageInTest, AnEventWithoutAnObjectIsItsBytesOnStdin) {
  Event event;
  event.id = EventId("event-1");
  event.data = "hello";
  const auto staged = stage(event, false);
  ASSERT_TRUE(staged);
  EXPECT_EQ(staged->stdin_bytes, "hello");
  EXPECT_EQ(staged->environment.at("EVENT"), "hello");
  EXPECT_FALSE(staged->environment.contains("STORAGE_OBJECT_KEY"));
  EXPECT_FALSE(staged->environment.contains("EVENT_TIME"));
  EXPECT_TRUE(staged->inputs.empty());
}

TEST_F(StageInTest, WhatNoVariableCanHoldIsOnStdinOnly) {
  Event event;
  event.data = std::string("a\0b", 3);
  auto staged = stage(event, false);
  ASSERT_TRUE(staged);
  EXPECT_EQ(staged->stdin_bytes, event.data);
  EXPECT_FALSE(staged->environment.contains("EVENT"));

  // The kernel takes "EVENT=<text>" and its end only up to 128 KiB.
  event.data = std::string((128 << 10) - 16, 'x');
  staged = stage(event, false);
  ASSERT_TRUE(staged);
  EXPECT_TRUE(staged->environment.contains("EVENT"));
  event.data += 'x';
  staged = stage(event, false);
  ASSERT_TRUE(staged);
  EXPECT_FALSE(staged->environment.contains("EVENT"));
  EXPECT_EQ(staged->stdin_bytes.size(), event.data.size());
}

// Bodies are written by threads, so on a real loop and a real disk.
class StageInBodies : public testing::Test {
 protected:
  Result<StagedIn> stage(const std::string& data, const std::string& scratch) {
    StageIn stage_in(storage_, pool_, scratch);
    FunctionSpec spec;
    spec.name = "copy";
    Event event;
    event.data = data;
    return test::run_task(loop_, stage_in.stage(std::make_shared<const FunctionSpec>(spec), event, kRun));
  }
  [[nodiscard]] std::size_t files() const {
    const std::filesystem::directory_iterator all(scratch_.path());
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
  }

  UvEventLoop loop_;
  test::TempDir scratch_;
  FakeStorage storage_{loop_};
  BlockingPool pool_{loop_, {.threads = 1}};
};

TEST_F(StageInBodies, ABodyIsAFileForAsLongAsTheRunNeedsIt) {
  {
    auto staged = stage("hello", scratch_.path());
    ASSERT_TRUE(staged) << staged.error().message;
    ASSERT_EQ(staged->inputs.size(), 1U);
    EXPECT_EQ(staged->inputs[0].name, "event-file-" + kRun.str());
    EXPECT_EQ(staged->stdin_bytes, "hello");
    std::array<char, 16> bytes{};
    ASSERT_EQ(::read(staged->inputs[0].fd.get(), bytes.data(), bytes.size()), 5);
    EXPECT_EQ(std::string(bytes.data(), 5), "hello");
    EXPECT_LT(::write(staged->inputs[0].fd.get(), "x", 1), 0) << "the function must not write through it";
    EXPECT_EQ(files(), 1U);

    const StagedIn moved = std::move(*staged);
    EXPECT_EQ(files(), 1U);
  }
  EXPECT_EQ(files(), 0U);
}

TEST_F(StageInBodies, AnEmptyBodyIsAnEmptyFile) {
  const auto staged = stage("", scratch_.path());
  ASSERT_TRUE(staged) << staged.error().message;
  EXPECT_EQ(files(), 1U);
  EXPECT_EQ(std::filesystem::file_size(staged->inputs.at(0).host_path), 0U);
}

TEST_F(StageInBodies, AttemptsOfOneRunDoNotMeet) {
  const auto one = stage("one", scratch_.path());
  const auto two = stage("two", scratch_.path());
  ASSERT_TRUE(one);
  ASSERT_TRUE(two);
  EXPECT_EQ(files(), 2U);
}

TEST_F(StageInBodies, WithoutAScratchDirectoryTheErrorNamesIt) {
  const auto staged = stage("hello", scratch_ / "gone");
  ASSERT_FALSE(staged);
  EXPECT_EQ(staged.error().code, Errc::not_found);
  EXPECT_NE(staged.error().message.find(scratch_ / "gone"), std::string::npos) << staged.error().message;
}

TEST(StageInTrouble, ABodyThatCannotBeWrittenLeavesNoFile) {
  UvEventLoop loop;
  test::TempDir scratch;
  FakeStorage storage(loop);
  BlockingPool pool(loop, {.threads = 1});
  StageIn stage_in(storage, pool, scratch.path());
  Event event;
  event.data = std::string(10'000, 'x');
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small{.rlim_cur = 4096, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto staged = test::run_task(loop, stage_in.stage(std::make_shared<const FunctionSpec>(), event, RunId("r")));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_FALSE(staged);
  EXPECT_TRUE(std::filesystem::is_empty(scratch.path())) << "a full disk gets fuller with every retry";
}

}  // namespace
}  // namespace millrace
