// Answers that go on, and what is asked for again and again.
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>

#include "tests/unit/gateway/gateway_rig.h"

namespace millrace {
namespace {

class StreamsTest : public GatewayRig {
 protected:
  std::unique_ptr<Stream> open(const std::string& target) { return std::make_unique<Stream>(server_->port(), target); }

  // On the domain loop, which owns all state.
  template <class Function>
  void domain(Function function) {
    std::promise<void> done;
    loop_.post([&] {
      function();
      done.set_value();
    });
    done.get_future().wait();
  }
  static LiveRun run(const std::string& id) {
    LiveRun one;
    one.run_id = RunId(id);
    one.function = "f";
    return one;
  }
  void commit(const std::string& id, const std::string& log_tail) {
    RunRecord record;
    record.run_id = RunId(id);
    record.event_id = EventId("e");
    record.function = "f";
    record.log_tail = log_tail;
    record.token = AttemptToken("t");
    domain([this, &record] { group_.spawn(keep_value(parts_.state.runs().commit(record), committed_)); });
    for (bool there = false; !there;) domain([this, &there] { there = committed_.has_value(); });
  }

  TaskGroup group_{loop_};
  std::optional<Result<CommitResult>> committed_;
  std::optional<Result<std::vector<Applied>>> applied_;
};

TEST_F(StreamsTest, RunsAreToldAsTheyGo) {
  const auto stream = open("/api/v1/runs/events");
  ASSERT_TRUE(stream->until(": here you are"));
  EXPECT_NE(stream->seen().find("Content-Type: text/event-stream"), std::string::npos);
  domain([this] {
    RunTable::Active active(parts_.runs, run("a"));
    active.state(RunState::running, {});
    RunEnd end;
    end.outcome = RunOutcome::dead_lettered;
    end.reason = "exit code 1";
    active.ended(end);
  });
  ASSERT_TRUE(stream->until("\"outcome\":\"dead_lettered\""));
  ASSERT_TRUE(stream->until("\"reason\":\"exit code 1\""));
  EXPECT_NE(stream->seen().find("event: run\ndata: {\"run_id\":\"a\""), std::string::npos) << stream->seen();
  EXPECT_NE(stream->seen().find("\"state\":\"running\""), std::string::npos) << stream->seen();
}

TEST_F(StreamsTest, ASlowClientIsToldHowMuchItMissed) {
  const auto stream = open("/api/v1/runs/events");
  ASSERT_TRUE(stream->until(": here you are"));
  domain([this] {
    for (int i = 0; i < 100; ++i) parts_.runs.queued(run("r" + std::to_string(i)));
  });
  ASSERT_TRUE(stream->until("event: skipped\ndata: {\"count\":"));
  EXPECT_TRUE(stream->until("\"run_id\":\"r99\""));
}

TEST_F(StreamsTest, WatchersAreBounded) {
  const auto one = open("/api/v1/runs/events");
  const auto two = open("/api/v1/runs/events");
  const auto three = open("/api/v1/runs/events");
  for (const auto* stream : {&one, &two, &three}) ASSERT_TRUE((*stream)->until(": here you are"));
  EXPECT_EQ(ask("GET", "/api/v1/runs/events").status, 429);
}

TEST_F(StreamsTest, HeadEndsAtOnce) {
  EXPECT_EQ(ask("HEAD", "/api/v1/runs/events").status, 200);
  commit("a", "x");
  EXPECT_EQ(ask("HEAD", "/api/v1/runs/a/log?follow").status, 200);
}

TEST_F(StreamsTest, ALogIsShownAsItIsWrittenAndThenItsEnd) {
  std::shared_ptr<LiveLog> log;
  domain([this, &log] {
    log = parts_.logs.open(RunId("a"), AttemptToken("t"));
    log->append("one\n");
    parts_.runs.queued(run("a"));
  });
  const auto stream = open("/api/v1/runs/a/log?follow");
  ASSERT_TRUE(stream->until("event: log\ndata: {\"text\":\"one\\n\"}")) << stream->seen();
  domain([&log] { log->append("two\n"); });
  ASSERT_TRUE(stream->until("{\"text\":\"two\\n\"}")) << stream->seen();
  commit("a", "one\ntwo\n");
  domain([&log] { log->end(); });
  ASSERT_TRUE(stream->until("event: end\ndata: {\"outcome\":\"succeeded\"")) << stream->seen();
  EXPECT_EQ(stream->seen().find("one\\ntwo"), std::string::npos) << "what was followed is not said again";
}

TEST_F(StreamsTest, OfARunThatIsOverAllOfTheLogIsSent) {
  commit("a", "all of it");
  const auto answer = ask("GET", "/api/v1/runs/a/log?follow");
  EXPECT_EQ(answer.body,
            ": here you are\n\nevent: log\ndata: {\"text\":\"all of it\"}\n\nevent: end\ndata: "
            "{\"outcome\":\"succeeded\",\"reason\":\"\"}\n\n")
      << answer.body;
}

TEST_F(StreamsTest, BytesThatAreNoTextSurvive) {
  commit("a", "\xff");
  EXPECT_NE(ask("GET", "/api/v1/runs/a/log?follow").body.find("{\"text\":{\"base64\":\"/w==\"}}"), std::string::npos);
}

TEST_F(StreamsTest, NobodysLogIs404) {
  EXPECT_EQ(ask("GET", "/api/v1/runs/none/log?follow").status, 404);
}

TEST_F(StreamsTest, TopHasEveryFunctionAndSaysWhichRest) {
  domain([this] {
    std::vector<FunctionSpec> specs{EngineParts::function("busy"), EngineParts::function("tired")};
    group_.spawn(keep_value(parts_.registry.apply(specs), applied_));
  });
  for (bool there = false; !there;) domain([this, &there] { there = applied_.has_value(); });
  domain([this] {
    RunTable::Active active(parts_.runs, run("a"));
    RunEnd end;
    end.usage.wall_us = 1500;
    active.ended(end);
    parts_.broker.lags["fn.busy"].pending = 3;
    parts_.broker.lags["fn.busy"].blocked = 2;
    for (int i = 0; i < 5; ++i) parts_.circuits.trouble("tired", {.code = Errc::unavailable, .message = "no launcher"});
  });
  const auto answer = ask("GET", "/api/v1/top");
  ASSERT_EQ(answer.status, 200);
  const auto json = parse_json(answer.body, 1 << 20);
  ASSERT_TRUE(json);
  const auto& rows = json->find("functions")->items();
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].string_or("name", ""), "busy");
  EXPECT_EQ(rows[0].uint_or("queued", 0), 5U);
  EXPECT_EQ(rows[0].find("resting"), nullptr);
  ASSERT_NE(rows[1].find("resting"), nullptr);
  EXPECT_EQ(rows[1].find("resting")->string_or("reason", ""), "no launcher");

  EXPECT_NE(ask("GET", "/api/v1/functions").body.find("function rests after errors in a row, the last: no launcher"),
            std::string::npos);
}

}  // namespace
}  // namespace millrace
