#include "engine/nodes.h"

#include <algorithm>
#include <utility>

#include "async/sleep.h"

namespace millrace {

bool has_role(std::string_view roles, std::string_view role) {
  while (!roles.empty()) {
    const auto comma = roles.find(',');
    if (roles.substr(0, comma) == role) return true;
    roles = comma == std::string_view::npos ? std::string_view() : roles.substr(comma + 1);
  }
  return false;
}

Nodes::Nodes(EventLoop& loop, SharedState* shared, NodeRow me, Describe describe, NodesOptions options, Log& log)
    : loop_(loop),
      shared_(shared),
      me_(std::move(me)),
      describe_(std::move(describe)),
      options_(options),
      log_(log),
      first_(shared == nullptr) {}

Task<Result<void>> Nodes::join() {
  if (shared_ == nullptr) co_return Result<void>();
  describe_(me_);
  const auto joined = co_await shared_->join(me_, options_.lease);
  if (!joined) co_return fail(joined.error());
  const auto others = co_await all();
  if (!others) co_return fail(others.error());
  for (const auto& node : *others) {
    if (!node.alive || node.version == me_.version) continue;
    log_.warn("another node is of another version",
              {{"node", node.name}, {"version", node.version}, {"here", me_.version}});
  }
  co_return Result<void>();
}

Task<void> Nodes::run(std::stop_token stop, std::function<void()> displaced) {
  while (shared_ != nullptr) {
    const auto known = co_await beat();
    if (!known) {
      displaced();
      co_return;
    }
    const auto slept = co_await sleep_for(loop_, options_.lease / 3, stop);
    if (!slept) co_return;
  }
}

Task<bool> Nodes::beat() {
  describe_(me_);
  const auto beaten = co_await shared_->beat(me_, options_.lease);
  if (!beaten && beaten.error().code == Errc::aborted) {
    // Its lease had run out for long enough to be forgotten; or it has an heir.
    const auto nodes = co_await all();
    const bool taken = nodes && std::ranges::any_of(*nodes, [this](const NodeRow& node) {
                         return node.name == me_.name && node.session != me_.session && node.alive;
                       });
    Result<void> joined;
    if (nodes && !taken) joined = co_await shared_->join(me_, options_.lease);
    if (taken || (!joined && !retryable(joined.error().code))) {
      log_.error("this node's name is another daemon's by now: it ends",
                 {{"node", me_.name}, {"error", taken ? beaten.error() : joined.error()}});
      co_return false;
    }
  } else if (!beaten) {
    log_.warn("the other nodes do not hear of this one", {{"error", beaten.error()}});
  }
  const auto alive = co_await living();
  first_ = alive && alive->first;
  co_return true;
}

Task<void> Nodes::leave() {
  if (shared_ == nullptr) co_return;
  const auto left = co_await shared_->leave(me_);
  if (!left) log_.warn("this node stays on the list until its lease has run out", {{"error", left.error()}});
}

Task<Result<void>> Nodes::announce(Notice notice) {
  if (shared_ == nullptr) co_return Result<void>();
  auto told = co_await shared_->announce(std::move(notice));
  co_return told;
}

Task<Result<std::vector<NodeRow>>> Nodes::all() {
  if (shared_ == nullptr) {
    describe_(me_);
    co_return std::vector<NodeRow>{me_};
  }
  auto nodes = co_await shared_->nodes();
  co_return nodes;
}

Task<Result<Nodes::Living>> Nodes::living() {
  const auto nodes = co_await all();
  if (!nodes) co_return fail(nodes.error());
  Living living;
  for (const auto& node : *nodes) {
    if (!node.alive) continue;
    living.names.insert(node.name);
    living.workers = living.workers || has_role(node.roles, "worker");
  }
  living.first = !living.names.empty() && *living.names.begin() == me_.name;
  co_return living;
}

}  // namespace millrace
