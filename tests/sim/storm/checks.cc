// What must hold once everything has come to rest.
#include <algorithm>

#include "formats/identity.h"
#include "tests/sim/storm/storm.h"

namespace millrace::storm {
namespace {

bool counts_as_failure(AttemptOutcome outcome) {
  return outcome != AttemptOutcome::succeeded && outcome != AttemptOutcome::cancelled &&
         outcome != AttemptOutcome::lost;
}

// Whether this may have become of a run on that input.
bool expected(Kind kind, RunOutcome outcome) {
  switch (kind) {
    case Kind::fails:
    case Kind::permanent:
    case Kind::too_much:
    case Kind::poison: return outcome == RunOutcome::dead_lettered;
    case Kind::gone: return outcome == RunOutcome::succeeded || outcome == RunOutcome::skipped;
    case Kind::cancelled: return outcome == RunOutcome::succeeded || outcome == RunOutcome::cancelled;
    default: return outcome == RunOutcome::succeeded;
  }
}

// How many failures a run on that input must have counted when it is over; none: up to so many.
std::pair<std::uint32_t, std::uint32_t> failures_of(Kind kind) {
  switch (kind) {
    case Kind::fails: return {4, 4};
    case Kind::permanent: return {1, 1};
    case Kind::too_much: return {2, 2};
    case Kind::flaky: return {0, 2};
    default: return {0, 0};
  }
}

std::string text_of(const RunRecord& row) {
  return "run " + row.run_id.str() + " of " + row.function + " on " + (row.input ? row.input->key : "nothing");
}

}  // namespace

void Storm::check(Outcome& outcome) {
  RunFilter all;
  all.limit = kRunListMax;
  const auto rows = wait(store().runs().list(all));
  rows_ = *rows;
  outcome.runs = rows_.size();
  std::map<RunId, int> expected_runs;
  for (const auto& input : inputs_) {
    expect_runs(input.bucket, input.key, object_event_id(input.object), expected_runs);
  }
  for (const auto& row : rows_) {
    check_row(row, outcome);
    check_attempts(row, outcome);
    check_outputs(row, expected_runs, outcome);
    outcome.losses += row.losses;
  }
  for (const auto& row : rows_) {
    if (expected_runs.erase(row.run_id) == 0) outcome.violations.push_back(text_of(row) + " has no cause");
  }
  for (const auto& [run_id, count] : expected_runs) {
    outcome.violations.push_back("run " + run_id.str() + " is lost: no row");
  }
  for (const auto& [function, uid] : uids_) expect_letters(function, outcome);
  check_leftovers(outcome);
}

void Storm::expect_runs(const std::string& bucket, const std::string& key, const EventId& event,
                        std::map<RunId, int>& runs) {
  const ObjectRef object{.store = "local", .bucket = bucket, .key = key, .version = {}, .private_path = {}};
  for (const auto& trigger : nodes_[0]->engine.registry.match(object)) {
    ++runs[make_run_id(trigger.function->uid, event, 0)];
  }
}

void Storm::check_row(const RunRecord& row, Outcome& outcome) {
  const auto complain = [&](const std::string& what) { outcome.violations.push_back(text_of(row) + " " + what); };
  const Kind kind = kind_of(row.input->key);
  if (!expected(kind, row.outcome)) {
    complain("ended as " + std::string(millrace::name_of(row.outcome)) + ": " + row.reason);
  }
  if (!row.placed || !row.published) complain("misses a mark");
  if ((row.outcome == RunOutcome::succeeded) != row.reason.empty()) complain("has the wrong reason: " + row.reason);
  const auto [least, most] = failures_of(kind);
  const bool over = row.outcome == RunOutcome::succeeded || row.outcome == RunOutcome::dead_lettered;
  if (over && (row.failures < least || row.failures > most)) {
    complain("counts " + std::to_string(row.failures) + " failures");
  }
  if (row.outcome == RunOutcome::succeeded && row.outputs.size() != (row.function == "first" ? 2U : 1U)) {
    complain("has " + std::to_string(row.outputs.size()) + " outputs");
  }
}

// Every execution is on record, as what it was, and nothing else is.
void Storm::check_attempts(const RunRecord& row, Outcome& outcome) {
  const auto complain = [&](const std::string& what) { outcome.violations.push_back(text_of(row) + " " + what); };
  const auto attempts = wait(store().runs().attempts(row.run_id));
  std::map<AttemptToken, Attempt> by_token;
  for (const auto& attempt : *attempts) by_token[attempt.token] = attempt;

  std::uint32_t failed = 0;
  bool won = false;
  for (const auto& done : workshop_.executions) {
    if (done.run_id != row.run_id) continue;
    const auto found = by_token.find(done.token);
    if (found == by_token.end()) {
      complain("ran without an attempt on record");
      continue;
    }
    const auto& told = found->second.outcome;
    const bool named = row.token == done.token;
    if (!told && !named) complain("has an attempt without an end");
    // Nobody may have heard of the end; what is told otherwise is what was.
    const bool unheard = told == AttemptOutcome::lost || told == AttemptOutcome::cancelled;
    if (told && !unheard && told != done.outcome) {
      complain("tells of an attempt that it " + std::string(millrace::name_of(*told)));
    }
    if (told && counts_as_failure(*told)) ++failed;
    if (named && done.outcome == AttemptOutcome::succeeded) won = true;
  }
  if (row.failures > failed) {
    complain("counts " + std::to_string(row.failures) + " failures, its attempts " + std::to_string(failed));
  }
  if (row.outcome == RunOutcome::succeeded && !won) complain("succeeded by an attempt that did not");
}

void Storm::check_outputs(const RunRecord& row, std::map<RunId, int>& expected_runs, Outcome& outcome) {
  const auto complain = [&](const std::string& what) { outcome.violations.push_back(text_of(row) + " " + what); };
  for (std::uint32_t index = 0; index < row.outputs.size(); ++index) {
    const OutputFile& output = row.outputs[index];
    if (storage_.owner(output.bucket, output.key) != row.run_id) complain("does not own its output " + output.key);
    if (storage_.appearances(output.bucket, output.key) != 1) complain("placed " + output.key + " not once");
    const auto copy = wait(storage_.open({.store = output.store,
                                          .bucket = output.bucket,
                                          .key = output.key,
                                          .version = output.version,
                                          .private_path = output.private_path}));
    if (!copy || copy->version != output.version) complain("has no private copy of " + output.key);
    expect_runs(output.bucket, output.key, EventId(output_source_id(row.run_id, index)), expected_runs);
  }
}

// A dead letter for each run that ended so, and no other.
void Storm::expect_letters(const std::string& function, Outcome& outcome) {
  std::map<EventId, int> letters;
  const auto dead = wait(real_broker_->dead_letters(work_topic(function), std::string(kWorkersGroup), "", 1'000));
  for (const auto& letter : *dead) ++letters[letter.event.id];
  for (const auto& row : rows_) {
    if (row.function != function) continue;
    const bool has = letters.erase(row.event_id) > 0;
    if (has != (row.outcome == RunOutcome::dead_lettered)) {
      outcome.violations.push_back(text_of(row) + (has ? " has a dead letter" : " has no dead letter"));
    }
  }
  for (const auto& [event, count] : letters) {
    outcome.violations.push_back("a dead letter of " + function + " without a row: event " + event.str());
  }
}

void Storm::check_leftovers(Outcome& outcome) {
  for (const auto& path : storage_.attempt_paths()) outcome.violations.push_back(path + " is left");
  std::size_t outputs = 0;
  for (const auto& row : rows_) outputs += row.outputs.size();
  std::size_t visible = 0;
  for (const char* bucket : {"middle", "out", "out-narrow", "out-large", "out-poison"}) {
    visible += storage_.visible(bucket).size();
  }
  if (visible != outputs) {
    outcome.violations.push_back(std::to_string(visible) + " outputs are visible, the rows name " +
                                 std::to_string(outputs));
  }
}

}  // namespace millrace::storm
