// Records as columns: which column holds which member, said once for every adapter that keeps rows.
//
//   visit(visitor, record);      // calls visitor("run_id", record.run_id), visitor("event_id", record.event_id), ...
#pragma once

#include <concepts>
#include <type_traits>
#include <utility>

#include "core/run.h"
#include "state/shared_state.h"

namespace millrace::state {

// A visitor is called with each column's name and member, in the order of the columns.
template <class Visitor, class U>
  requires std::same_as<std::remove_const_t<U>, Usage>
void visit(Visitor& column, U& usage) {
  column("wall_us", usage.wall_us);
  column("queued_us", usage.queued_us);
  column("start_us", usage.start_us);
  column("cpu_us", usage.cpu_us);
  column("memory_peak_bytes", usage.memory_peak_bytes);
  column("rss_peak_bytes", usage.rss_peak_bytes);
  column("read_bytes", usage.read_bytes);
  column("written_bytes", usage.written_bytes);
  column("throttled_us", usage.throttled_us);
  column("output_bytes", usage.output_bytes);
  column("memory_limit_bytes", usage.memory_limit_bytes);
}

template <class Visitor, class A>
  requires std::same_as<std::remove_const_t<A>, Attempt>
void visit(Visitor& column, A& attempt) {
  column("token", attempt.token);
  column("run_id", attempt.run_id);
  column("bucket", attempt.bucket);
  column("node", attempt.node);
  column("started_at", attempt.started_at);
  column("ended_at", attempt.ended_at);
  column("outcome", attempt.outcome);
  column("exit_code", attempt.exit_code);
  column("signal", attempt.signal);
  column("message", attempt.message);
  visit(column, attempt.usage);
}

template <class Visitor, class O>
void visit_input(Visitor& column, O& object) {
  column("input_store", object.store);
  column("input_bucket", object.bucket);
  column("input_key", object.key);
  column("input_size_bytes", object.version.size_bytes);
  column("input_mtime_ns", object.version.mtime_ns);
  column("input_inode", object.version.inode);
  column("input_private_path", object.private_path);
}

inline const ObjectRef kNoObject{.store = {}, .bucket = {}, .key = {}, .version = {}, .private_path = {}};

// Everything of a run but its outputs, which are rows of their own, and its long texts.
template <class Visitor, class R>
  requires std::same_as<std::remove_const_t<R>, RunRecord>
void visit(Visitor& column, R& run) {
  column("run_id", run.run_id);
  column("event_id", run.event_id);
  column("function", run.function);
  column("function_uid", run.function_uid);
  column("revision", run.revision);
  column("generation", run.generation);
  column("event_order", run.order);
  column("cause", run.cause);
  column("hops", run.hops);
  column("outcome", run.outcome);
  column("reason", run.reason);
  column("exit_code", run.exit_code);
  column("signal", run.signal);
  column("failures", run.failures);
  column("losses", run.losses);
  column("token", run.token);
  column("node", run.node);
  column("queued_at", run.queued_at);
  column("started_at", run.started_at);
  column("committed_at", run.committed_at);
  column("log_bytes", run.log_bytes);
  column("result_truncated", run.result_truncated);
  column("placed", run.placed);
  column("published", run.published);
  visit(column, run.usage);
  bool has_input = run.input.has_value();
  column("has_input", has_input);
  if constexpr (std::is_const_v<R>) {
    visit_input(column, has_input ? *run.input : kNoObject);
  } else {
    ObjectRef object;
    visit_input(column, object);
    if (has_input) run.input = std::move(object);
  }
}

template <class Visitor, class N>
  requires std::same_as<std::remove_const_t<N>, NodeRow>
void visit(Visitor& column, N& node) {
  column("name", node.name);
  column("identity", node.identity);
  column("session", node.session);
  column("broker", node.broker);
  column("roles", node.roles);
  column("version", node.version);
  column("address", node.address);
  column("started_at", node.started_at);
  column("running", node.running);
  column("memory_bytes", node.memory_bytes);
  column("memory_free_bytes", node.memory_free_bytes);
  column("cpu_millicores", node.cpu_millicores);
  column("cpu_free_millicores", node.cpu_free_millicores);
}

template <class Visitor, class O>
  requires std::same_as<std::remove_const_t<O>, OutputFile>
void visit(Visitor& column, O& output) {
  column("name", output.name);
  column("store", output.store);
  column("bucket", output.bucket);
  column("key", output.key);
  column("source_path", output.source_path);
  column("placed_size_bytes", output.placed.size_bytes);
  column("placed_mtime_ns", output.placed.mtime_ns);
  column("placed_inode", output.placed.inode);
  column("private_path", output.private_path);
  column("size_bytes", output.version.size_bytes);
  column("mtime_ns", output.version.mtime_ns);
  column("inode", output.version.inode);
  column("sha256", output.sha256);
}

}  // namespace millrace::state
