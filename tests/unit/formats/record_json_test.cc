#include "formats/record_json.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace millrace {
namespace {

std::uint64_t seed_of_this_run() {
  return std::random_device{}();
}

// Makes records with every field set to something that is easily lost.
class Maker {
 public:
  explicit Maker(std::uint64_t seed) : random_(seed) {}

  std::string bytes(std::size_t size_max) {
    std::string text(random_() % (size_max + 1), '\0');
    const bool any = random_() % 3 == 0;  // else ASCII
    for (auto& c : text) c = static_cast<char>(any ? random_() : random_() % 128);
    return text;
  }
  std::string ascii(std::size_t size_max) {
    std::string text(random_() % (size_max + 1), '\0');
    for (auto& c : text) c = static_cast<char>('!' + random_() % 90);
    return text;
  }
  std::string id() { return ascii(32); }
  WallTime time() {
    if (random_() % 4 == 0) return {};
    return WallTime(std::chrono::nanoseconds(static_cast<std::int64_t>(random_() % 9'000'000'000'000'000'000ULL)));
  }
  ObjectVersion version() {
    return {.size_bytes = random_(), .mtime_ns = static_cast<std::int64_t>(random_()), .inode = random_()};
  }
  Usage usage() {
    return {.wall_us = random_(),
            .queued_us = random_(),
            .start_us = random_(),
            .cpu_us = random_(),
            .memory_peak_bytes = random_(),
            .rss_peak_bytes = random_(),
            .read_bytes = random_(),
            .written_bytes = random_(),
            .throttled_us = random_(),
            .output_bytes = random_(),
            .memory_limit_bytes = random_()};
  }
  OutputFile output() {
    return {.name = bytes(20),
            .store = ascii(5),
            .bucket = ascii(9),
            .key = bytes(30),
            .source_path = bytes(40),
            .placed = version(),
            .private_path = bytes(40),
            .version = version(),
            .sha256 = ascii(64)};
  }
  Attempt attempt() {
    Attempt attempt{.run_id = RunId(id()),
                    .token = AttemptToken(id()),
                    .bucket = ascii(9),
                    .node = bytes(9),
                    .started_at = time(),
                    .ended_at = time(),
                    .outcome = std::nullopt,
                    .exit_code = static_cast<int>(random_() % 256),
                    .signal = static_cast<int>(random_() % 65),
                    .message = bytes(50),
                    .usage = usage()};
    if (random_() % 3 != 0) attempt.outcome = static_cast<AttemptOutcome>(random_() % 7);
    return attempt;
  }
  RunRecord run() {
    RunRecord run;
    run.run_id = RunId(id());
    run.event_id = EventId(id());
    run.function = ascii(39);
    run.function_uid = FunctionUid(id());
    run.revision = random_();
    run.generation = static_cast<std::uint32_t>(random_());
    run.order = Order(id());
    run.cause = RunId(id());
    run.hops = static_cast<std::uint32_t>(random_());
    if (random_() % 2 == 0) {
      run.input = ObjectRef{
          .store = ascii(5), .bucket = ascii(9), .key = bytes(30), .version = version(), .private_path = bytes(30)};
    }
    run.outcome = static_cast<RunOutcome>(random_() % 5);
    run.reason = bytes(60);
    run.exit_code = static_cast<int>(random_() % 256);
    run.signal = static_cast<int>(random_() % 65);
    run.failures = static_cast<std::uint32_t>(random_());
    run.losses = static_cast<std::uint32_t>(random_());
    run.token = AttemptToken(id());
    run.node = bytes(9);
    run.queued_at = time();
    run.started_at = time();
    run.committed_at = time();
    run.usage = usage();
    run.log_tail = bytes(200);
    run.log_bytes = random_();
    run.result = bytes(200);
    run.result_truncated = random_() % 2 == 0;
    for (std::uint64_t n = random_() % 4; n > 0; --n) run.outputs.push_back(output());
    run.placed = random_() % 2 == 0;
    run.published = random_() % 2 == 0;
    return run;
  }

 private:
  std::mt19937_64 random_;
};

void expect_same(const Usage& a, const Usage& b) {
  EXPECT_EQ(a.wall_us, b.wall_us);
  EXPECT_EQ(a.queued_us, b.queued_us);
  EXPECT_EQ(a.start_us, b.start_us);
  EXPECT_EQ(a.cpu_us, b.cpu_us);
  EXPECT_EQ(a.memory_peak_bytes, b.memory_peak_bytes);
  EXPECT_EQ(a.rss_peak_bytes, b.rss_peak_bytes);
  EXPECT_EQ(a.read_bytes, b.read_bytes);
  EXPECT_EQ(a.written_bytes, b.written_bytes);
  EXPECT_EQ(a.throttled_us, b.throttled_us);
  EXPECT_EQ(a.output_bytes, b.output_bytes);
  EXPECT_EQ(a.memory_limit_bytes, b.memory_limit_bytes);
}

void expect_same(const RunRecord& a, const RunRecord& b) {
  EXPECT_EQ(a.run_id, b.run_id);
  EXPECT_EQ(a.event_id, b.event_id);
  EXPECT_EQ(a.function, b.function);
  EXPECT_EQ(a.function_uid, b.function_uid);
  EXPECT_EQ(a.revision, b.revision);
  EXPECT_EQ(a.generation, b.generation);
  EXPECT_EQ(a.order, b.order);
  EXPECT_EQ(a.cause, b.cause);
  EXPECT_EQ(a.hops, b.hops);
  ASSERT_EQ(a.input.has_value(), b.input.has_value());
  if (a.input) {
    EXPECT_EQ(a.input->store, b.input->store);
    EXPECT_EQ(a.input->bucket, b.input->bucket);
    EXPECT_EQ(a.input->key, b.input->key);
    EXPECT_EQ(a.input->version, b.input->version);
    EXPECT_EQ(a.input->private_path, b.input->private_path);
  }
  EXPECT_EQ(a.outcome, b.outcome);
  EXPECT_EQ(a.reason, b.reason);
  EXPECT_EQ(a.exit_code, b.exit_code);
  EXPECT_EQ(a.signal, b.signal);
  EXPECT_EQ(a.failures, b.failures);
  EXPECT_EQ(a.losses, b.losses);
  EXPECT_EQ(a.token, b.token);
  EXPECT_EQ(a.node, b.node);
  EXPECT_EQ(a.queued_at, b.queued_at);
  EXPECT_EQ(a.started_at, b.started_at);
  EXPECT_EQ(a.committed_at, b.committed_at);
  expect_same(a.usage, b.usage);
  EXPECT_EQ(a.log_tail, b.log_tail);
  EXPECT_EQ(a.log_bytes, b.log_bytes);
  EXPECT_EQ(a.result, b.result);
  EXPECT_EQ(a.result_truncated, b.result_truncated);
  ASSERT_EQ(a.outputs.size(), b.outputs.size());
  for (std::size_t i = 0; i < a.outputs.size(); ++i) {
    EXPECT_EQ(a.outputs[i].name, b.outputs[i].name);
    EXPECT_EQ(a.outputs[i].store, b.outputs[i].store);
    EXPECT_EQ(a.outputs[i].bucket, b.outputs[i].bucket);
    EXPECT_EQ(a.outputs[i].key, b.outputs[i].key);
    EXPECT_EQ(a.outputs[i].source_path, b.outputs[i].source_path);
    EXPECT_EQ(a.outputs[i].placed, b.outputs[i].placed);
    EXPECT_EQ(a.outputs[i].private_path, b.outputs[i].private_path);
    EXPECT_EQ(a.outputs[i].version, b.outputs[i].version);
    EXPECT_EQ(a.outputs[i].sha256, b.outputs[i].sha256);
  }
  EXPECT_EQ(a.placed, b.placed);
  EXPECT_EQ(a.published, b.published);
}

// Through text, as it is stored.
Json stored(const Json& json) {
  const auto back = parse_json(json.dump(), 1 << 20);
  EXPECT_TRUE(back) << back.error().message;
  return back ? *back : Json();
}

TEST(RecordJson, KeepsRunRecords) {
  const auto seed = seed_of_this_run();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Maker maker(seed);
  for (int i = 0; i < 500; ++i) {
    const RunRecord run = maker.run();
    const auto back = run_from_json(stored(to_json(run)));
    ASSERT_TRUE(back) << back.error().message;
    expect_same(run, *back);
    ASSERT_FALSE(HasFailure());
  }
}

TEST(RecordJson, KeepsAnEmptyRunRecord) {
  const auto back = run_from_json(stored(to_json(RunRecord{})));
  ASSERT_TRUE(back) << back.error().message;
  expect_same(RunRecord{}, *back);
}

TEST(RecordJson, KeepsAttempts) {
  const auto seed = seed_of_this_run();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Maker maker(seed);
  for (int i = 0; i < 500; ++i) {
    const Attempt attempt = maker.attempt();
    const auto back = attempt_from_json(stored(to_json(attempt)));
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(attempt.run_id, back->run_id);
    EXPECT_EQ(attempt.token, back->token);
    EXPECT_EQ(attempt.bucket, back->bucket);
    EXPECT_EQ(attempt.node, back->node);
    EXPECT_EQ(attempt.started_at, back->started_at);
    EXPECT_EQ(attempt.ended_at, back->ended_at);
    EXPECT_EQ(attempt.outcome, back->outcome);
    EXPECT_EQ(attempt.exit_code, back->exit_code);
    EXPECT_EQ(attempt.signal, back->signal);
    EXPECT_EQ(attempt.message, back->message);
    expect_same(attempt.usage, back->usage);
    ASSERT_FALSE(HasFailure());
  }
}

TEST(RecordJson, SaysWhatIsWrongWithARecord) {
  EXPECT_FALSE(run_from_json(Json::array()));
  EXPECT_EQ(
      run_from_json(Json::object()).error().message,
      "run record: 5 problems\n  run_id: is missing; a text is required\n  event_id: is missing; a text is required\n"
      "  function: is missing; a text is required\n  function_uid: is missing; a text is required\n"
      "  outcome: is missing");
  Json json = to_json(RunRecord{});
  json.set("outcome", "exploded");
  EXPECT_EQ(run_from_json(json).error().message, "run record: outcome: 'exploded' is not one of the outcomes of a run");
  json = to_json(RunRecord{});
  json.set("outputs", Json::array({1}));
  EXPECT_EQ(run_from_json(json).error().message, "run record: outputs[0]: must be an object, is 1");
  json = to_json(RunRecord{});
  json.set("queued_at", "noon");
  EXPECT_FALSE(run_from_json(json));
  EXPECT_EQ(attempt_from_json(Json::object()).error().message,
            "attempt: 2 problems\n  run_id: is missing; a text is required\n  token: is missing; a text is required");
}

TEST(RecordJson, IgnoresWhatANewerVersionWrote) {
  Json json = to_json(RunRecord{});
  json.set("invented_later", 1);
  EXPECT_TRUE(run_from_json(json));
}

TEST(RecordJson, ShowsAnEventWithoutItsData) {
  Event event;
  event.id = EventId("e");
  event.source = "s";
  event.source_id = "1";
  event.type = "t";
  event.time += std::chrono::milliseconds(1500);
  event.object =
      ObjectRef{.store = "local", .bucket = "b", .key = "k", .version = {.size_bytes = 7}, .private_path = ""};
  event.extensions = {{"tenant", "a"}};
  event.data = "secret";
  EXPECT_EQ(to_json(event).dump(),
            R"({"id":"e","source":"s","source_id":"1","type":"t","time":"1970-01-01T00:00:01.500Z","hops":0,)"
            R"("generation":0,"object":{"store":"local","bucket":"b","key":"k","version":{"size_bytes":7,"mtime_ns":0,)"
            R"("inode":0}},"extensions":{"tenant":"a"},"data_bytes":6})");
}

}  // namespace
}  // namespace millrace
