// A shared state in memory, for several nodes on one loop: leases run out by the loop's time, notices come in a step of
// their own to whoever listens.
//
//   FakeSharedState shared(loop);
//   FakeSharedState::View one(shared), other(shared);     // each node's own end of it
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "async/event_loop.h"
#include "async/sleep.h"
#include "state/shared_state.h"

namespace millrace {

class FakeSharedState {
 public:
  explicit FakeSharedState(EventLoop& loop) : loop_(loop) {}

  class View final : public SharedState {
   public:
    explicit View(FakeSharedState& all) : all_(all) { all_.views_.push_back(this); }

    Task<Result<void>> join(NodeRow me, std::chrono::milliseconds lease) override {
      co_await yield(all_.loop_);
      if (away) co_return fail(Errc::unavailable, "away");
      const auto standing = all_.rows_.find(me.name);
      if (standing != all_.rows_.end() && standing->second.node.identity != me.identity &&
          all_.lives(standing->second)) {
        co_return fail(Errc::already_exists, "a node named '" + me.name + "' is there already");
      }
      all_.put(std::move(me), lease);
      co_return Result<void>();
    }
    Task<Result<void>> beat(NodeRow me, std::chrono::milliseconds lease) override {
      co_await yield(all_.loop_);
      if (away) co_return fail(Errc::unavailable, "away");
      const auto standing = all_.rows_.find(me.name);
      if (standing == all_.rows_.end() || standing->second.node.session != me.session) {
        co_return fail(Errc::aborted, "not on the list");
      }
      all_.put(std::move(me), lease);
      co_return Result<void>();
    }
    Task<Result<void>> leave(NodeRow me) override {
      co_await yield(all_.loop_);
      all_.rows_.erase(me.name);
      co_return Result<void>();
    }
    Task<Result<std::vector<NodeRow>>> nodes() override {
      co_await yield(all_.loop_);
      if (away) co_return fail(Errc::unavailable, "away");
      std::vector<NodeRow> nodes;
      for (auto& [name, row] : all_.rows_) {
        nodes.push_back(row.node);
        nodes.back().alive = all_.lives(row);
      }
      co_return nodes;
    }
    Task<Result<void>> announce(Notice notice) override {
      co_await yield(all_.loop_);
      if (deaf_) co_return Result<void>();
      for (View* view : all_.views_) {
        all_.loop_.post([view, notice] {
          if (view->heard_) view->heard_(notice);
        });
      }
      co_return Result<void>();
    }
    void on_notice(std::move_only_function<void(const Notice& notice)> heard) override { heard_ = std::move(heard); }

    void lose_notices() { deaf_ = true; }
    bool away = false;

   private:
    FakeSharedState& all_;
    std::move_only_function<void(const Notice& notice)> heard_;
    bool deaf_ = false;
  };

  void forget(const std::string& name) { rows_.erase(name); }

 private:
  struct Row {
    NodeRow node;
    EventLoop::TimePoint until;
  };
  [[nodiscard]] bool lives(const Row& row) const { return row.until > loop_.now(); }
  void put(NodeRow node, std::chrono::milliseconds lease) {
    const auto name = node.name;
    rows_.insert_or_assign(name, Row{.node = std::move(node), .until = loop_.now() + lease});
  }

  EventLoop& loop_;
  std::map<std::string, Row> rows_;
  std::vector<View*> views_;
};

}  // namespace millrace
