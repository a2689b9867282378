// A broker whose deliveries are made by the test and whose verdicts are read by it.
//
//   FakeBroker broker(loop);
//   const auto told = std::make_shared<DeliveryReport>();
//   broker.deliver("fn.resize", std::make_unique<FakeDelivery>(loop, event, told));   // uses one credit
//   ...
//   EXPECT_EQ(told->verdicts, std::vector<std::string>{"ack"});
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "async/event_loop.h"
#include "async/one_shot.h"
#include "async/sleep.h"
#include "broker/broker.h"

namespace millrace {

// What one delivery is like, and what became of it. Outlives it.
struct DeliveryReport {
  Counters counters;
  std::uint32_t redrives = 0;
  std::chrono::milliseconds lease = std::chrono::seconds(30);
  std::chrono::system_clock::time_point published_at{};
  std::chrono::milliseconds begin_takes{0};
  std::chrono::milliseconds verdict_takes{0};
  std::optional<Error> begin_error;
  std::optional<Error> extend_error;
  std::optional<Error> verdict_error;
  std::stop_source lost;  // request its stop to take the lease away

  bool begun = false;
  bool dropped = false;                // gone without a verdict
  std::vector<std::string> verdicts;   // "ack", "nak failed", "term"
  std::chrono::milliseconds delay{0};  // of the last nak
  std::string reason;                  // of the last term, as the next
  Counters buried_with;
  std::vector<EventLoop::TimePoint> extended_at;   // every call of extend()
  std::optional<EventLoop::TimePoint> settled_at;  // of the last verdict
};

class FakeDelivery final : public Delivery {
 public:
  FakeDelivery(EventLoop& loop, Event event, std::shared_ptr<DeliveryReport> report)
      : loop_(loop), event_(std::move(event)), report_(std::move(report)) {}
  FakeDelivery(const FakeDelivery&) = delete;
  FakeDelivery& operator=(const FakeDelivery&) = delete;
  ~FakeDelivery() override { report_->dropped = report_->verdicts.empty(); }

  const Event& event() const override { return event_; }
  std::chrono::system_clock::time_point published_at() const override { return report_->published_at; }
  std::uint32_t redrives() const override { return report_->redrives; }
  std::stop_token lease_lost() const override { return report_->lost.get_token(); }
  std::chrono::milliseconds lease() const override { return report_->lease; }

  Task<Result<Counters>> begin() override {
    co_await sleep_for(loop_, report_->begin_takes);
    if (report_->begin_error) co_return fail(*report_->begin_error);
    report_->begun = true;
    co_return report_->counters;
  }
  Task<Result<void>> extend() override {
    co_await yield(loop_);
    report_->extended_at.push_back(loop_.now());
    if (report_->extend_error) co_return fail(*report_->extend_error);
    co_return Result<void>{};
  }
  Task<Result<void>> ack() override {
    auto settled = co_await settle("ack");
    co_return settled;
  }
  Task<Result<void>> nak(std::chrono::milliseconds delay, NakReason reason) override {
    report_->delay = delay;
    auto settled = co_await settle(std::string("nak ") + name_of(reason));
    co_return settled;
  }
  Task<Result<void>> term(std::string reason, Counters counters) override {
    report_->reason = std::move(reason);
    report_->buried_with = counters;
    auto settled = co_await settle("term");
    co_return settled;
  }

 private:
  static const char* name_of(NakReason reason) {
    switch (reason) {
      case NakReason::failed: return "failed";
      case NakReason::lost: return "lost";
      case NakReason::overload: return "overload";
      case NakReason::shutdown: return "shutdown";
      case NakReason::infrastructure: return "infrastructure";
    }
    return "?";
  }

  Task<Result<void>> settle(std::string verdict) {
    co_await sleep_for(loop_, report_->verdict_takes);
    report_->verdicts.push_back(std::move(verdict));
    report_->settled_at = loop_.now();
    if (report_->verdict_error) co_return fail(*report_->verdict_error);
    co_return Result<void>{};
  }

  EventLoop& loop_;
  Event event_;
  std::shared_ptr<DeliveryReport> report_;
};

class FakeBroker final : public Broker {
 public:
  explicit FakeBroker(EventLoop& loop) : loop_(loop) {}

  std::map<std::string, TopicSpec> ensured;
  std::map<std::string, std::vector<Outgoing>> published;
  std::map<std::string, Lag> lags;
  std::map<std::string, std::vector<DeadLetter>> dead;  // by topic; as many as `lags` says
  std::map<std::string, Error> publish_errors;          // by topic, until taken out
  std::optional<Error> ensure_error;
  std::optional<Error> subscribe_error;
  Capabilities able;
  std::optional<Error> in_trouble;
  using Watchers = std::multimap<std::string, TopicWatcher*>;  // by topic
  const std::shared_ptr<Watchers> shared_watchers = std::make_shared<Watchers>();
  Watchers& watchers = *shared_watchers;
  int failing_lags = 0;  // so many next calls of lag() are `unavailable`

  // Hands it out when there is credit.
  void deliver(const std::string& topic, std::unique_ptr<Delivery> delivery) {
    Member& member = member_of(topic);
    member.ready.push_back(std::move(delivery));
    wake(member);
  }
  // The next next() fails with it.
  void break_subscription(const std::string& topic, Error error) {
    Member& member = member_of(topic);
    member.error = std::move(error);
    wake(member);
  }
  void tell_backlog(const std::string& topic) {
    loop_.post([this, topic] { changed_(topic); });
  }

  [[nodiscard]] std::uint32_t granted(const std::string& topic) { return member_of(topic).granted; }  // ever
  [[nodiscard]] std::uint32_t credit(const std::string& topic) { return member_of(topic).credit; }
  [[nodiscard]] int subscriptions(const std::string& topic) { return member_of(topic).subscriptions; }  // alive

  Capabilities capabilities() const override { return able; }
  std::optional<Error> trouble() const override { return in_trouble; }
  Task<Result<void>> ensure(TopicSpec topic) override {
    co_await yield(loop_);
    if (ensure_error) co_return fail(*ensure_error);
    const std::string name = topic.name;
    ensured.insert_or_assign(name, std::move(topic));
    co_return Result<void>{};
  }
  Task<Result<std::vector<std::string>>> topics() override {
    co_await yield(loop_);
    std::vector<std::string> names;
    for (const auto& [name, spec] : ensured) names.push_back(name);
    co_return names;
  }
  Task<std::vector<Result<Receipt>>> publish(std::string topic, std::vector<Outgoing> batch) override {
    co_await yield(loop_);
    std::vector<Result<Receipt>> receipts;
    for (auto& message : batch) {
      if (const auto error = publish_errors.find(topic); error != publish_errors.end()) {
        receipts.emplace_back(fail(error->second));
        continue;
      }
      const bool fresh = ids_.emplace(topic, message.id).second;
      const auto [first, last] = watchers.equal_range(topic);
      for (auto each = first; fresh && each != last; ++each) each->second->seen(message.event, message.key, {});
      if (fresh) published[topic].push_back(std::move(message));
      receipts.emplace_back(Receipt{.duplicate = !fresh});
    }
    co_return receipts;
  }
  Task<Result<std::unique_ptr<Subscription>>> subscribe(SubscribeOptions options) override {
    co_await yield(loop_);
    if (subscribe_error) co_return fail(*subscribe_error);
    co_return std::unique_ptr<Subscription>(std::make_unique<FakeSubscription>(loop_, member_of(options.topic)));
  }
  Task<Result<TopicInfo>> describe(std::string topic) override {
    co_await yield(loop_);
    const auto found = ensured.find(topic);
    if (found == ensured.end()) co_return fail(Errc::not_found, "topic '" + topic + "' does not exist");
    co_return TopicInfo{
        .spec = found->second, .messages = published[topic].size(), .published = published[topic].size()};
  }
  Task<Result<void>> remove_group(std::string topic, std::string group) override {
    co_await yield(loop_);
    const auto found = ensured.find(topic);
    if (found == ensured.end() || std::erase(found->second.groups, group) == 0) {
      co_return fail(Errc::not_found, "topic '" + topic + "' has no group '" + group + "'");
    }
    co_return Result<void>{};
  }
  Task<Result<void>> remove_topic(std::string topic) override {
    co_await yield(loop_);
    if (ensured.erase(topic) == 0) co_return fail(Errc::not_found, "topic '" + topic + "' does not exist");
    published.erase(topic);
    const auto [first, last] = watchers.equal_range(topic);
    for (auto each = first; each != last; ++each) each->second->topic_removed();
    co_return Result<void>{};
  }
  Task<Result<std::unique_ptr<Watch>>> watch(std::string topic, TopicWatcher& watcher) override {
    co_await yield(loop_);
    if (!ensured.contains(topic)) co_return fail(Errc::not_found, "topic '" + topic + "' does not exist");
    co_return std::make_unique<FakeWatch>(*this, topic, watcher);
  }
  Task<Result<Lag>> lag(std::string topic, std::string) override {
    co_await yield(loop_);
    if (failing_lags > 0) {
      --failing_lags;
      co_return fail(Errc::unavailable, "no lag now");
    }
    co_return lags[topic];
  }
  Task<Result<std::vector<DeadLetter>>> dead_letters(std::string topic, std::string, std::string after,
                                                     std::size_t limit) override {
    co_await yield(loop_);
    std::vector<DeadLetter> page;
    bool started = after.empty();
    for (const auto& letter : dead[topic]) {
      if (started && page.size() < limit) {
        page.push_back(letter);
        page.back().position = letter.id;
      }
      started = started || letter.id == after;
    }
    co_return page;
  }
  Task<Result<std::uint64_t>> redrive(std::string, std::string, std::vector<std::string>) override {
    co_return fail(Errc::unimplemented, "the fake broker redrives nothing");
  }
  Task<Result<void>> purge(std::string topic, std::string) override {
    co_await yield(loop_);
    lags[topic] = {};
    dead[topic].clear();
    co_return Result<void>{};
  }
  void on_backlog(std::move_only_function<void(const std::string& topic)> changed) override {
    changed_ = std::move(changed);
  }
  Task<void> close() override { co_return; }

 private:
  struct Member {
    std::uint32_t credit = 0;
    std::uint32_t granted = 0;
    int subscriptions = 0;
    std::deque<std::unique_ptr<Delivery>> ready;
    std::optional<Error> error;
    std::optional<OneShot<bool>> waiter;
  };

  class FakeSubscription final : public Subscription {
   public:
    FakeSubscription(EventLoop& loop, Member& member) : loop_(loop), member_(member) { ++member_.subscriptions; }
    FakeSubscription(const FakeSubscription&) = delete;
    FakeSubscription& operator=(const FakeSubscription&) = delete;
    ~FakeSubscription() override { --member_.subscriptions; }

    void grant(std::uint32_t credit) override {
      member_.credit += credit;
      member_.granted += credit;
      wake(member_);
    }
    std::uint32_t credit() const override { return member_.credit; }
    Task<Result<std::unique_ptr<Delivery>>> next(std::stop_token stop) override {
      for (;;) {
        if (stop.stop_requested()) co_return fail(Errc::cancelled, "cancelled");
        if (member_.error) co_return fail(*std::exchange(member_.error, std::nullopt));
        if (member_.credit > 0 && !member_.ready.empty()) {
          --member_.credit;
          auto delivery = std::move(member_.ready.front());
          member_.ready.pop_front();
          co_await yield(loop_);  // its content is read
          co_return delivery;
        }
        const OneShot<bool> woken(loop_);
        member_.waiter = woken;
        const std::stop_callback on_stop(stop, [woken] { woken.set(true); });
        co_await woken.wait();
      }
    }

   private:
    EventLoop& loop_;
    Member& member_;
  };

  // May go after its broker.
  class FakeWatch final : public Watch {
   public:
    FakeWatch(const FakeBroker& broker, const std::string& topic, TopicWatcher& watcher)
        : watchers_(broker.shared_watchers), place_(broker.shared_watchers->emplace(topic, &watcher)) {}
    FakeWatch(const FakeWatch&) = delete;
    FakeWatch& operator=(const FakeWatch&) = delete;
    ~FakeWatch() override {
      if (const auto all = watchers_.lock()) all->erase(place_);
    }

   private:
    std::weak_ptr<Watchers> watchers_;
    Watchers::iterator place_;
  };

  static void wake(Member& member) {
    if (member.waiter) member.waiter->set(true);
  }
  Member& member_of(const std::string& topic) { return members_[topic]; }

  EventLoop& loop_;
  std::set<std::pair<std::string, std::string>> ids_;
  std::map<std::string, Member> members_;
  std::move_only_function<void(const std::string& topic)> changed_ = [](const std::string&) {};
};

}  // namespace millrace
