#include "tests/contract/state/backends.h"

#include <array>
#include <utility>

namespace millrace::test {
namespace {

constexpr std::chrono::nanoseconds kDay{1'700'000'000'123'456'789};

}  // namespace

std::string backend_name(const testing::TestParamInfo<Backend>& info) {
  return testing::PrintToString(info.param);
}

void PrintTo(Backend backend, std::ostream* out) {
  constexpr std::array<const char*, 3> kNames = {"memory", "sqlite", "postgres"};
  *out << kNames.at(static_cast<std::size_t>(backend));
}

WallTime at(int milliseconds) {
  return WallTime(std::chrono::duration_cast<WallTime::duration>(kDay + std::chrono::milliseconds(milliseconds)));
}

Attempt attempt(const std::string& run_id, const std::string& token, int started_ms) {
  return {.run_id = RunId(run_id),
          .token = AttemptToken(token),
          .bucket = "videos",
          .node = "node-1",
          .started_at = at(started_ms),
          .ended_at = {},
          .outcome = {},
          .message = {},
          .usage = {}};
}

Attempt ended(Attempt attempt, AttemptOutcome outcome) {
  attempt.ended_at = attempt.started_at + std::chrono::seconds(1);
  attempt.outcome = outcome;
  attempt.exit_code = 3;
  attempt.signal = 9;
  attempt.message = "ended";
  attempt.usage = {.wall_us = 1,
                   .queued_us = 2,
                   .start_us = 3,
                   .cpu_us = 4,
                   .memory_peak_bytes = 5,
                   .rss_peak_bytes = 6,
                   .read_bytes = 7,
                   .written_bytes = 8,
                   .throttled_us = 9,
                   .output_bytes = ~std::uint64_t{0},
                   .memory_limit_bytes = 10};
  return attempt;
}

OutputFile output(const std::string& name) {
  return {.name = name,
          .store = "other",
          .bucket = "out",
          .key = "folder/" + name,
          .source_path = "out/.millrace/00/run/token/" + name,
          .placed = {.size_bytes = 11, .mtime_ns = -12, .inode = 13},
          .private_path = "out/.millrace/copies/" + name,
          .version = {.size_bytes = 21, .mtime_ns = 22, .inode = ~std::uint64_t{0}},
          .sha256 = std::string(64, 'a')};
}

RunRecord record(const std::string& run_id, int committed_ms) {
  RunRecord run;
  run.run_id = RunId(run_id);
  run.event_id = EventId("event of " + run_id);
  run.function = "resize";
  run.function_uid = FunctionUid("uid");
  run.revision = 7;
  run.generation = 2;
  run.order = Order("order");
  run.cause = RunId("cause of " + run_id);
  run.hops = 4;
  // A key is a file name: any bytes but zero and slash.
  run.input = ObjectRef{.store = "local",
                        .bucket = "videos",
                        .key = "it's \"odd\"; \xff\xfe \n.mp4",
                        .version = {.size_bytes = 1, .mtime_ns = 2, .inode = 3},
                        .private_path = "videos/.millrace/x"};
  run.outcome = RunOutcome::dead_lettered;
  run.reason = "exit code 1";
  run.exit_code = 1;
  run.signal = 11;
  run.failures = 5;
  run.losses = 6;
  run.token = AttemptToken("token of " + run_id);
  run.node = "node-1";
  run.queued_at = at(committed_ms - 2000);
  run.started_at = at(committed_ms - 1000);
  run.committed_at = at(committed_ms);
  run.usage = ended(attempt(run_id, "t"), AttemptOutcome::failed).usage;
  run.log_tail = std::string("line 1\n\0binary\xff", 15);
  run.log_bytes = 1 << 20;
  run.result = std::string("\0result", 7);
  run.result_truncated = true;
  run.outputs = {output("a.jpg"), output("b.jpg")};
  return run;
}

namespace {

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

void expect_same(const ObjectRef& a, const ObjectRef& b) {
  EXPECT_EQ(a.store, b.store);
  EXPECT_EQ(a.bucket, b.bucket);
  EXPECT_EQ(a.key, b.key);
  EXPECT_EQ(a.version, b.version);
  EXPECT_EQ(a.private_path, b.private_path);
}

void expect_same(const OutputFile& a, const OutputFile& b) {
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.store, b.store);
  EXPECT_EQ(a.bucket, b.bucket);
  EXPECT_EQ(a.key, b.key);
  EXPECT_EQ(a.source_path, b.source_path);
  EXPECT_EQ(a.placed, b.placed);
  EXPECT_EQ(a.private_path, b.private_path);
  EXPECT_EQ(a.version, b.version);
  EXPECT_EQ(a.sha256, b.sha256);
}

}  // namespace

void expect_same(const Attempt& a, const Attempt& b) {
  EXPECT_EQ(a.run_id, b.run_id);
  EXPECT_EQ(a.token, b.token);
  EXPECT_EQ(a.bucket, b.bucket);
  EXPECT_EQ(a.node, b.node);
  EXPECT_EQ(a.started_at, b.started_at);
  EXPECT_EQ(a.ended_at, b.ended_at);
  EXPECT_EQ(a.outcome, b.outcome);
  EXPECT_EQ(a.exit_code, b.exit_code);
  EXPECT_EQ(a.signal, b.signal);
  EXPECT_EQ(a.message, b.message);
  expect_same(a.usage, b.usage);
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
  if (a.input) expect_same(*a.input, *b.input);
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
  for (std::size_t i = 0; i < a.outputs.size(); ++i) expect_same(a.outputs[i], b.outputs[i]);
  EXPECT_EQ(a.placed, b.placed);
  EXPECT_EQ(a.published, b.published);
}

std::vector<std::string> ids(const std::vector<RunRecord>& records) {
  std::vector<std::string> found;
  for (const auto& run : records) found.push_back(run.run_id.str());
  return found;
}

std::vector<std::string> tokens(const std::vector<Attempt>& attempts) {
  std::vector<std::string> found;
  for (const auto& one : attempts) found.push_back(one.token.str());
  return found;
}

StateContract::StateContract() : log_({.level = LogLevel::error}), place_(make_place(GetParam())) {
  open();
}

StateContract::~StateContract() {
  run_task(loop_, state_->close());
}

void StateContract::open() {
  auto opened = run_task(loop_, place_->open(loop_, log_, metrics_));
  ASSERT_TRUE(opened) << opened.error().message;
  state_ = std::move(*opened);
}

void StateContract::reopen() {
  if (GetParam() == Backend::memory) return;
  run_task(loop_, state_->close());
  state_.reset();
  open();
}

}  // namespace millrace::test
