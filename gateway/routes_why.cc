// The causal chain of an event or a run: up to the root, then everything that came of it, as a tree.
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "formats/record_json.h"
#include "formats/timestamp.h"
#include "gateway/live_why.h"
#include "gateway/reply.h"
#include "gateway/routes.h"

namespace millrace::routes {
namespace {

constexpr std::size_t kChainRunsMax = 10'000;
constexpr std::size_t kChainDepthMax = 64;

struct Link {
  RunRecord record;
  std::vector<Attempt> attempts;  // of one that did not succeed at once
  std::vector<Link> children;
};

struct Chain {
  std::vector<Link> roots;
  std::vector<Json> live;
  std::size_t runs = 0;
  bool truncated = false;
};

Json to_json(const Link& link) {
  const RunRecord& record = link.record;
  Json outputs = Json::array();
  for (const auto& output : record.outputs) {
    const std::string key = output.key.empty() ? std::string() : "/" + output.key;
    outputs.append((output.is_event() ? "topic " : "") + output.bucket + key);
  }
  Json children = Json::array();
  for (const auto& child : link.children) children.append(to_json(child));
  Json json = Json::object({{"run_id", record.run_id.str()},
                            {"event_id", record.event_id.str()},
                            {"function", record.function},
                            {"outcome", name_of(record.outcome)},
                            {"reason", record.reason},
                            {"failures", record.failures},
                            {"losses", record.losses},
                            {"committed_at", format_timestamp(record.committed_at)}});
  json.set("state", name_of(record.placed && record.published ? RunState::done : RunState::placing));
  if (record.input) json.set("input", record.input->bucket + "/" + record.input->key);
  if (!link.attempts.empty()) json.set("attempts", failed_attempts_json(link.attempts));
  json.set("outputs", std::move(outputs));
  json.set("children", std::move(children));
  return json;
}

// The run, and below it whatever its outputs started.
Task<Result<Link>> grow(Services& services, RunRecord record, Chain& chain, std::size_t depth) {
  Link link{.record = std::move(record), .attempts = {}, .children = {}};
  if (link.record.failures + link.record.losses > 0) {
    auto attempts = co_await services.state.runs().attempts(link.record.run_id);
    if (!attempts) co_return fail(attempts.error());
    link.attempts = std::move(*attempts);
  }
  if (++chain.runs >= kChainRunsMax || depth >= kChainDepthMax) {
    chain.truncated = true;
    co_return link;
  }
  auto children = co_await services.state.runs().caused_by(link.record.run_id);
  if (!children) co_return fail(children.error());
  for (auto& child : *children) {
    auto grown = co_await grow(services, std::move(child), chain, depth + 1);
    if (!grown) co_return fail(grown.error());
    link.children.push_back(std::move(*grown));
    if (chain.truncated) break;
  }
  co_return link;
}

Task<Result<std::vector<RunRecord>>> start_of(Services& services, std::string id) {
  auto run = co_await services.state.runs().get(RunId(id));
  if (!run) co_return fail(run.error());
  std::vector<RunRecord> found;
  if (*run) {
    found.push_back(std::move(**run));
    co_return found;
  }
  auto of_event = co_await services.state.runs().of_event(EventId(id));
  co_return of_event;
}

// The tree of what is on record, and what goes on under this very id.
Task<Result<Chain>> chain_of(Services& services, std::string id) {
  auto records = co_await start_of(services, id);
  if (!records) co_return fail(records.error());
  Chain chain;
  auto live = co_await what_goes_on(services, id);
  if (!live) co_return fail(live.error());
  chain.live = std::move(*live);
  if (records->empty() && chain.live.empty()) {
    co_return fail(Errc::not_found, "no run belongs to '" + id + "'");
  }
  if (records->empty()) co_return chain;

  // Up: every run of one event has the same cause, so one line leads to the root.
  for (std::size_t depth = 0; depth < kChainDepthMax && !records->front().cause.empty(); ++depth) {
    auto parent = co_await services.state.runs().get(records->front().cause);
    if (!parent) co_return fail(parent.error());
    if (!*parent) break;  // past its retention
    records->clear();
    records->push_back(std::move(**parent));
  }
  // The root event may have started other functions beside this one.
  auto siblings = co_await services.state.runs().of_event(records->front().event_id);
  if (!siblings) co_return fail(siblings.error());

  for (auto& record : *siblings) {
    auto link = co_await grow(services, std::move(record), chain, 0);
    if (!link) co_return fail(link.error());
    chain.roots.push_back(std::move(*link));
  }
  co_return chain;
}

}  // namespace

Task<void> why(Exchange& exchange) {
  Services& services = exchange.services;
  const std::string id = exchange.params["id"];
  auto chain = co_await on_domain(services, exchange.request, [&services, id] { return chain_of(services, id); });
  if (!chain) {
    co_await reply_error(exchange, chain.error());
    co_return;
  }
  Json roots = Json::array();
  for (const auto& root : chain->roots) roots.append(to_json(root));
  Json live = Json::array();
  for (auto& run : chain->live) live.append(std::move(run));
  co_await reply_json(exchange, 200,
                      Json::object({{"chain", std::move(roots)},
                                    {"live", std::move(live)},
                                    {"runs", chain->runs},
                                    {"truncated", chain->truncated}}));
}

}  // namespace millrace::routes
