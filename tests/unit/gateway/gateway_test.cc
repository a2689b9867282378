// The gateway's own part of every answer: who is let in, which route, which status and shape an error has.
#include "gateway/gateway.h"

#include <gtest/gtest.h>

#include <string>

#include "formats/json.h"
#include "gateway/reply.h"
#include "tests/support/run_task.h"
#include "tests/unit/gateway/gateway_rig.h"

namespace millrace {
namespace {

class GatewayTest : public GatewayRig {};

TEST_F(GatewayTest, HealthIsOpen) {
  const auto answer = raw("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "{\"status\":\"ok\"}\n");
  EXPECT_TRUE(answer.has("Content-Type: application/json"));
}

TEST_F(GatewayTest, EverythingElseAsksForTheTokenAndSaysHow) {
  for (const char* target : {"/metrics", "/api/v1/functions", "/api/v1/buckets/b/objects/k"}) {
    const auto answer = raw("GET " + std::string(target) + " HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_EQ(answer.status, 401) << target;
    EXPECT_TRUE(answer.has("WWW-Authenticate: Bearer, Basic realm=\"millrace\"")) << answer.head;
    EXPECT_EQ(code_of(answer), "unauthenticated");
  }
}

TEST_F(GatewayTest, AStrangerCannotTellWhatExists) {
  const auto known = raw("GET /api/v1/functions HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto unknown = raw("GET /api/v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto other = raw("PATCH /api/v1/functions HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(unknown.status, 401);
  EXPECT_EQ(other.status, 401);
  EXPECT_EQ(known.body, unknown.body);
  EXPECT_EQ(known.body, other.body);
}

TEST_F(GatewayTest, AWrongTokenIsRefused) {
  const auto answer =
      raw("GET /api/v1/functions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer 0123456789abcdeF\r\n\r\n");
  EXPECT_EQ(answer.status, 401);
}

TEST_F(GatewayTest, BasicWithTheTokenIsLetIn) {
  const auto answer =
      raw("GET /api/v1/functions HTTP/1.1\r\nHost: x\r\n"
          "Authorization: Basic b3NjYXI6MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "{\"functions\":[]}\n");
}

TEST_F(GatewayTest, AnUnknownPathIs404NamingIt) {
  const auto answer = ask("GET", "/api/v1/nothing");
  EXPECT_EQ(answer.status, 404);
  EXPECT_EQ(code_of(answer), "not_found");
  EXPECT_NE(answer.body.find("GET /api/v1/nothing"), std::string::npos) << answer.body;
}

TEST_F(GatewayTest, HealthIs503WithTheReasonWhileNoWorkIsTaken) {
  EXPECT_EQ(raw("GET /health HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
  look_at_health([this] { parts_.broker.in_trouble = Error{.code = Errc::no_space, .message = "no room"}; });
  const auto degraded = raw("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(degraded.status, 503);
  EXPECT_EQ(degraded.body, "{\"status\":\"degraded\",\"reasons\":[{\"what\":\"broker\",\"reason\":\"no room\"}]}\n");
  EXPECT_EQ(raw("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").status, 200) << "a restart would not help";
  look_at_health([this] { parts_.broker.in_trouble.reset(); });
  EXPECT_EQ(raw("GET /health HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
}

TEST_F(GatewayTest, RunsThatCannotBeListedAreCounted) {
  on_domain([this] {
    parts_.broker.ensured["fn.f"] = TopicSpec{.name = "fn.f", .groups = {"workers"}};
    parts_.broker.lags["fn.f"] = Lag{.pending = 2, .in_flight = 4, .delayed = 1};
  });
  const auto answer = ask("GET", "/api/v1/runs");
  EXPECT_NE(answer.body.find("\"queued_unlisted\":3"), std::string::npos) << answer.body;
  on_domain([this] { parts_.broker.able.lists_waiting = true; });
  EXPECT_EQ(ask("GET", "/api/v1/runs").body.find("queued_unlisted"), std::string::npos) << "then all are known";
}

TEST_F(GatewayTest, ABrokerThatDoesNotAnswerKeepsNobodyFromTheRest) {
  on_domain([this] {
    for (const std::string topic : {"fn.a", "fn.b"}) {
      parts_.broker.ensured[topic] = TopicSpec{.name = topic, .groups = {"workers"}};
    }
    parts_.broker.lags["fn.a"] = Lag{.pending = 3};
    fickle_.takes["fn.b"] = std::chrono::hours(1);
  });
  const auto runs = ask("GET", "/api/v1/runs");
  EXPECT_EQ(runs.status, 200);
  EXPECT_NE(runs.body.find("\"queued_unlisted\":3"), std::string::npos) << "what is known: " << runs.body;
  EXPECT_EQ(ask("GET", "/metrics").status, 200);
}

TEST_F(GatewayTest, AnUnknownPathIsToldOnlyUpToALength) {
  const auto answer = ask("GET", "/" + std::string(5000, 'a'));
  EXPECT_EQ(answer.status, 404);
  EXPECT_LT(answer.body.size(), 400U);
}

TEST_F(GatewayTest, AnotherMethodIs405SayingWhich) {
  const auto answer = ask("DELETE", "/api/v1/functions");
  EXPECT_EQ(answer.status, 405);
  EXPECT_TRUE(answer.has("Allow: GET, HEAD, POST\r\n")) << answer.head;
  EXPECT_TRUE(answer.has("Content-Type: application/json"));
  EXPECT_EQ(code_of(answer), "unimplemented");
  EXPECT_NE(answer.body.find("DELETE /api/v1/functions"), std::string::npos) << answer.body;
}

TEST_F(GatewayTest, HeadIsGetWithoutABody) {
  const auto answer = ask("HEAD", "/api/v1/functions");
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.body.empty());
}

TEST_F(GatewayTest, ABrokenEscapeIs400) {
  const auto answer = ask("GET", "/api/v1/functions/%zz");
  EXPECT_EQ(answer.status, 400);
}

// The server refuses it as it refuses every malformed request, before anybody looks for a route.
TEST_F(GatewayTest, ABrokenEscapeTellsAStrangerNothing) {
  const auto known = raw("GET /api/v1/functions/%zz HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto unknown = raw("GET /api/v1/nothing/%zz HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(known.status, unknown.status);
  EXPECT_EQ(known.body, unknown.body);
  EXPECT_EQ(known.body, ask("GET", "/api/v1/functions/%zz").body) << "nor whether a token is right";
}

TEST_F(GatewayTest, ErrorsOfTheDomainBecomeStatuses) {
  EXPECT_EQ(ask("GET", "/api/v1/functions/none").status, 404);
  EXPECT_EQ(code_of(ask("DELETE", "/api/v1/functions/none")), "not_found");
  EXPECT_EQ(ask("POST", "/api/v1/functions/none/invoke", "x").status, 404);
  EXPECT_EQ(ask("POST", "/api/v1/functions/none/invoke?async", "x").status, 404);
  EXPECT_EQ(ask("GET", "/api/v1/runs/none").status, 404);
  EXPECT_EQ(ask("POST", "/api/v1/runs/none/cancel").status, 404);
  EXPECT_EQ(ask("GET", "/api/v1/why/none").status, 404);
}

TEST_F(GatewayTest, ABodyOverItsLimitIs413) {
  EXPECT_EQ(ask("POST", "/api/v1/functions/f/invoke", std::string(101, 'x')).status, 413);
  EXPECT_EQ(ask("POST", "/api/v1/functions/f/invoke", std::string(100, 'x')).status, 404);
  EXPECT_EQ(ask("POST", "/api/v1/functions", std::string(1001, 'x')).status, 413);
}

TEST_F(GatewayTest, AnErrorThatPassesSaysWhenToComeBack) {
  parts_.state.fail_next(StateCall::get_run, {.code = Errc::unavailable, .message = "locked", .retry_after = {}});
  const auto soon = ask("GET", "/api/v1/runs/x");
  EXPECT_EQ(soon.status, 503);
  EXPECT_TRUE(soon.has("Retry-After: 1\r\n")) << soon.head;

  const std::chrono::milliseconds hint(2001);
  parts_.state.fail_next(StateCall::get_run, {.code = Errc::unavailable, .message = "locked", .retry_after = hint});
  EXPECT_TRUE(ask("GET", "/api/v1/runs/x").has("Retry-After: 3\r\n")) << "whole seconds, never too early";
}

TEST_F(GatewayTest, AnErrorThatStaysSaysNothingOfComingBack) {
  parts_.state.fail_next(StateCall::get_run, {.code = Errc::data_loss, .message = "corrupt"});
  const auto answer = ask("GET", "/api/v1/runs/x");
  EXPECT_EQ(answer.status, 500);
  EXPECT_FALSE(answer.has("Retry-After"));
  EXPECT_EQ(code_of(answer), "data_loss");
}

TEST_F(GatewayTest, ANumberInTheQueryHasBounds) {
  EXPECT_EQ(ask("GET", "/api/v1/runs?limit=1").status, 200);
  EXPECT_EQ(ask("GET", "/api/v1/runs?limit=1000").status, 200);
  for (const char* limit : {"0", "1001", "-1", "+1", "1x", "x", "", "1.5", "0x10", "99999999999999999999999"}) {
    const auto answer = ask("GET", "/api/v1/runs?limit=" + std::string(limit));
    EXPECT_EQ(answer.status, 400) << limit;
    EXPECT_NE(answer.body.find("'limit' must be a number from 1 to 1000"), std::string::npos) << answer.body;
  }
}

TEST_F(GatewayTest, AnUnknownOutcomeInTheQueryIsRefusedWithThoseThereAre) {
  const auto answer = ask("GET", "/api/v1/runs?outcome=perfect");
  EXPECT_EQ(answer.status, 400);
  EXPECT_NE(answer.body.find("dead_lettered"), std::string::npos);
}

TEST_F(GatewayTest, NoRouteTakesAParameterThatItDoesNotKnow) {
  for (const auto& route : route_table()) {
    std::string target(route.pattern);
    for (std::size_t brace = target.find('{'); brace != std::string::npos; brace = target.find('{')) {
      target.replace(brace, target.find('}') - brace + 1, "x");
    }
    const auto answer = ask(std::string(route.method), target + "?limt=5");
    EXPECT_EQ(answer.status, 400) << route.method << " " << route.pattern;
    EXPECT_NE(answer.body.find("query parameter 'limt' is unknown"), std::string::npos) << answer.body;
    EXPECT_NE(answer.body.find(std::string(route.method) + " " + std::string(route.pattern) + " takes "),
              std::string::npos)
        << answer.body;
  }
  const auto stranger = raw("GET /api/v1/runs?limt=5 HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(stranger.status, 401) << "who is let in comes first";
}

// `check=ture` must not apply anything.
TEST_F(GatewayTest, AFlagThatIsNeitherYesNorNoIsRefused) {
  const std::string fdl = "functions:\n  millrace:\n    - name: f\n      script: \"#!/bin/sh\\ntrue\"\n";
  for (const char* flag : {"check=ture", "check=maybe", "check=yes&check=no"}) {
    EXPECT_EQ(ask("POST", "/api/v1/functions?" + std::string(flag), fdl).status, 400) << flag;
    EXPECT_EQ(ask("GET", "/api/v1/functions/f").status, 404) << flag;
  }
}

TEST_F(GatewayTest, RunsOfNobodyAre404UnlessSomeAreOnRecord) {
  for (const char* list :
       {"/api/v1/runs?function=", "/api/v1/runs?limit=1&outcome=failed&function=", "/api/v1/runs/events?function="}) {
    const auto answer = ask("HEAD", list + std::string("nosuch"));
    EXPECT_EQ(answer.status, 404) << list;
    EXPECT_EQ(ask("HEAD", list).status, 200) << list << ": of all functions";
  }
  EXPECT_NE(ask("GET", "/api/v1/runs?function=nosuch").body.find("'nosuch' does not exist, and no run of it"),
            std::string::npos);

  const std::string fdl = "functions: {millrace: [{name: f, script: \"true\\n\", file_stage_in: true}]}";
  ASSERT_EQ(ask("POST", "/api/v1/functions", fdl).status, 200);
  EXPECT_EQ(ask("GET", "/api/v1/runs?function=f").body, "{\"runs\":[],\"more_live\":false}\n");
  on_domain([this] {
    parts_.executor.define("f", {}, [](const ExecutionRequest&, int) { return ended(AttemptOutcome::succeeded); });
  });
  ASSERT_EQ(ask("POST", "/api/v1/functions/f/invoke", "x").status, 200);
  ASSERT_EQ(ask("DELETE", "/api/v1/functions/f").status, 204);
  EXPECT_EQ(ask("GET", "/api/v1/runs?function=f&outcome=failed").body, "{\"runs\":[],\"more_live\":false}\n");
  EXPECT_EQ(ask("HEAD", "/api/v1/runs/events?function=f").status, 200);
}

// Without `check` the function would be there afterwards.
TEST_F(GatewayTest, AFlagInTheQueryIsYesTrueOneOrNothingAtAll) {
  const std::string fdl = "functions:\n  millrace:\n    - name: f\n      script: \"#!/bin/sh\\ntrue\"\n";
  for (const char* flag : {"check", "check=", "check=yes", "check=true", "check=1"}) {
    EXPECT_EQ(ask("POST", "/api/v1/functions?" + std::string(flag), fdl).status, 200) << flag;
    EXPECT_EQ(ask("GET", "/api/v1/functions/f").status, 404) << flag;
  }
  for (const char* flag : {"check=no", "check=0", "check=false"}) {
    EXPECT_EQ(ask("POST", "/api/v1/functions?" + std::string(flag), fdl).status, 200) << flag;
    EXPECT_EQ(ask("DELETE", "/api/v1/functions/f").status, 204) << flag;
  }
}

TEST_F(GatewayTest, AnAnswerThatWasCutSaysSo) {
  ASSERT_EQ(
      ask("POST", "/api/v1/functions", "functions: {millrace: [{name: f, script: \"true\\n\", file_stage_in: true}]}")
          .status,
      200);
  for (const bool cut : {true, false}) {
    on_domain([this, cut] {
      parts_.executor.define("f", {}, [cut](const ExecutionRequest&, int) {
        auto execution = ended(AttemptOutcome::succeeded);
        execution.result = "1234";
        execution.result_truncated = cut;
        return execution;
      });
    });
    const auto answer = ask("POST", "/api/v1/functions/f/invoke", "x");
    EXPECT_EQ(answer.status, 200) << answer.body;
    EXPECT_EQ(answer.body, "1234");
    EXPECT_EQ(answer.has("X-Millrace-Result-Truncated: true\r\n"), cut) << answer.head;
  }
}

TEST_F(GatewayTest, ARequestThatIsNoFdlIs400) {
  const auto answer = ask("POST", "/api/v1/functions", "functions: 7");
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(code_of(answer), "invalid_argument");
}

TEST_F(GatewayTest, TopicsTellWhetherTheirOldestEventIsOverdue) {
  for (const char* topic : {"news", "old-news"}) {
    ASSERT_EQ(ask("POST", "/api/v1/topics/" + std::string(topic) + "/events", "x").status, 202);
  }
  on_domain([this] {
    parts_.broker.ensured["news"].name = "news";
    parts_.broker.ensured["old-news"].groups = {"fn.f"};
    parts_.broker.lags["old-news"] = {.pending = 1, .oldest = std::chrono::hours(200), .overdue = true};
  });
  const auto answer = parse_json(ask("GET", "/api/v1/topics").body, 1 << 20);
  ASSERT_TRUE(answer);
  const Json* topics = answer->find("topics");
  ASSERT_NE(topics, nullptr);
  ASSERT_EQ(topics->items().size(), 2U);
  EXPECT_FALSE(topics->items()[0].bool_or("overdue", true));
  EXPECT_TRUE(topics->items()[1].bool_or("overdue", false));
}

TEST_F(GatewayTest, WorkTopicsTakeNoEventsFromOutside) {
  EXPECT_EQ(ask("POST", "/api/v1/topics/fn.f/events", "x").status, 400);
  EXPECT_EQ(ask("POST", "/api/v1/topics/..%2Fescape/events", "x").status, 400);
  EXPECT_EQ(ask("POST", "/api/v1/topics/mine/events", "x").status, 202);
}

TEST_F(GatewayTest, AReplayOfNobodyIs404) {
  EXPECT_EQ(ask("POST", "/api/v1/functions/none/replay").status, 404);
  EXPECT_EQ(ask("GET", "/api/v1/functions/none/replay").status, 405);
}

TEST_F(GatewayTest, DelayAndPriorityAreReadBeforeTheEvent) {
  for (const char* query : {"delay=-1s", "delay=5", "delay=", "priority=urgent", "priority="}) {
    EXPECT_EQ(ask("POST", "/api/v1/topics/mine/events?" + std::string(query), "x").status, 400) << query;
    EXPECT_EQ(ask("POST", "/api/v1/functions/f/invoke?async&" + std::string(query), "x").status, 400) << query;
  }
  EXPECT_EQ(ask("POST", "/api/v1/topics/mine/events?delay=1s&priority=high", "x").status, 202);
  EXPECT_EQ(ask("POST", "/api/v1/functions/f/invoke?delay=1s", "x").status, 400) << "somebody waits for that";
  EXPECT_EQ(ask("POST", "/api/v1/functions/f/invoke?async&delay=1s", "x").status, 404);
}

TEST_F(GatewayTest, ARedriveOfOtherThanTextsIsRefused) {
  for (const char* body :
       {"{}", "[]", "{\"ids\": 1}", "{\"ids\": []}", "{\"ids\": [1]}", "{\"ids\": [\"a\", 1]}", "{"}) {
    EXPECT_EQ(ask("POST", "/api/v1/topics/fn.f/redrive", body).status, 400) << body;
  }
}

TEST_F(GatewayTest, APurgeSaysWhatItThrewAwayAndForgetsItsRuns) {
  on_domain([this] {
    parts_.broker.lags["fn.f"] = {.pending = 3, .in_flight = 2, .delayed = 1, .blocked = 1, .dead = 4};
    (void)parts_.runs.queued(
        {.run_id = RunId("r"), .event_id = EventId("e"), .function = "f", .topic = "fn.f", .key = ""});
  });
  const auto answer = ask("POST", "/api/v1/topics/fn.f/purge");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "{\"purged\":11,\"waiting\":5,\"in_flight\":2,\"dead\":4}\n");
  on_domain([this] {
    EXPECT_EQ(parts_.broker.lags["fn.f"].open(), 0U);
    EXPECT_FALSE(parts_.runs.find(RunId("r")));
  });
  EXPECT_EQ(ask("POST", "/api/v1/topics/nowhere/purge").status, 404);
  EXPECT_EQ(ask("GET", "/api/v1/topics/fn.f/purge").status, 405);
}

TEST_F(GatewayTest, EveryErrorCodeHasItsStatusAndItsName) {
  const struct {
    Errc code;
    int status;
  } statuses[] = {{Errc::invalid_argument, 400}, {Errc::permission_denied, 403},   {Errc::not_found, 404},
                  {Errc::already_exists, 409},   {Errc::failed_precondition, 409}, {Errc::aborted, 409},
                  {Errc::too_large, 413},        {Errc::resource_exhausted, 429},  {Errc::unimplemented, 501},
                  {Errc::unavailable, 503},      {Errc::cancelled, 503},           {Errc::deadline_exceeded, 504},
                  {Errc::no_space, 507},         {Errc::data_loss, 500},           {Errc::internal, 500}};
  for (const auto& [code, status] : statuses) {
    parts_.state.fail_next(StateCall::get_run, {.code = code, .message = "because \"so\"\n"});
    const auto answer = ask("GET", "/api/v1/runs/x");
    EXPECT_EQ(answer.status, status) << name_of(code);
    EXPECT_EQ(code_of(answer), name_of(code));
    EXPECT_EQ(answer.has("Retry-After"), retryable(code)) << name_of(code);
  }
}

}  // namespace
}  // namespace millrace
