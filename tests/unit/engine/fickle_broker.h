// A broker that asks another one, and of some topics tells late or not at all.
//
//   FickleBroker broker(rig.loop, rig.parts.broker);
//   broker.takes["orders"] = 15s;     // and fails then
//   broker.gone.insert("returns");    // listed by topics(), and went before the next question
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "async/event_loop.h"
#include "async/sleep.h"
#include "broker/broker.h"

namespace millrace {

class FickleBroker final : public Broker {
 public:
  FickleBroker(EventLoop& loop, Broker& broker) : loop_(loop), broker_(broker) {}

  std::map<std::string, std::chrono::milliseconds> takes;  // lag(), until it is `unavailable`
  std::set<std::string> gone;
  std::set<std::string> without_group;  // there, while their groups are not
  int asked = 0;                        // topics()

  Capabilities capabilities() const override { return broker_.capabilities(); }
  std::optional<Error> trouble() const override { return broker_.trouble(); }
  Task<Result<std::vector<std::string>>> topics() override {
    ++asked;
    return broker_.topics();
  }
  Task<Result<TopicInfo>> describe(std::string topic) override {
    if (gone.contains(topic)) co_return fail(Errc::not_found, "topic '" + topic + "' does not exist");
    auto info = co_await broker_.describe(std::move(topic));
    co_return info;
  }
  Task<Result<Lag>> lag(std::string topic, std::string group) override {
    if (gone.contains(topic) || without_group.contains(topic)) co_return fail(Errc::not_found, "no group in " + topic);
    if (const auto slow = takes.find(topic); slow != takes.end()) {
      co_await sleep_for(loop_, slow->second);
      co_return fail(Errc::unavailable, "no answer");
    }
    auto lag = co_await broker_.lag(std::move(topic), std::move(group));
    co_return lag;
  }
  Task<Result<void>> ensure(TopicSpec topic) override { return broker_.ensure(std::move(topic)); }
  Task<std::vector<Result<Receipt>>> publish(std::string topic, std::vector<Outgoing> batch) override {
    return broker_.publish(std::move(topic), std::move(batch));
  }
  Task<Result<std::unique_ptr<Subscription>>> subscribe(SubscribeOptions options) override {
    return broker_.subscribe(std::move(options));
  }
  Task<Result<std::vector<DeadLetter>>> dead_letters(std::string topic, std::string group, std::string after,
                                                     std::size_t limit) override {
    return broker_.dead_letters(std::move(topic), std::move(group), std::move(after), limit);
  }
  Task<Result<std::uint64_t>> redrive(std::string topic, std::string group, std::vector<std::string> ids) override {
    return broker_.redrive(std::move(topic), std::move(group), std::move(ids));
  }
  Task<Result<void>> purge(std::string topic, std::string group) override {
    return broker_.purge(std::move(topic), std::move(group));
  }
  Task<Result<void>> remove_group(std::string topic, std::string group) override {
    return broker_.remove_group(std::move(topic), std::move(group));
  }
  Task<Result<void>> remove_topic(std::string topic) override { return broker_.remove_topic(std::move(topic)); }
  Task<Result<std::unique_ptr<Watch>>> watch(std::string topic, TopicWatcher& watcher) override {
    return broker_.watch(std::move(topic), watcher);
  }
  void on_backlog(std::move_only_function<void(const std::string& topic)> changed) override {
    broker_.on_backlog(std::move(changed));
  }
  Task<void> close() override { return broker_.close(); }

 private:
  EventLoop& loop_;
  Broker& broker_;
};

}  // namespace millrace
