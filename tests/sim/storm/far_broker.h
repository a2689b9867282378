// The broker as one life of a node sees it: through the wire, with messages that come twice, verdicts that get lost,
// and leases that run out when the process dies or stands still.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "broker/broker.h"
#include "tests/sim/storm/wire.h"

namespace millrace::storm {

// A delivery of the real broker, for as long as anybody needs it.
struct Held {
  explicit Held(std::unique_ptr<Delivery> real) : delivery(std::move(real)) {}
  std::unique_ptr<Delivery> delivery;
  bool begun = false;
};

// What all lives see of the broker. Outlives them.
class BrokerShore {
 public:
  BrokerShore(Sky& sky, Broker& real) : sky_(sky), real_(real) {
    real_.on_backlog([this](const std::string& topic) {
      for (auto& [life, tell] : listeners_) tell(topic);
    });
  }

  [[nodiscard]] Broker& real() { return real_; }
  void listen(const Life* life, std::function<void(const std::string&)> tell) {
    listeners_.emplace_back(life, std::move(tell));
  }
  void forget(const Life* life) {
    std::erase_if(listeners_, [life](const auto& each) { return each.first == life; });
  }

  // A dead process's delivery: its lease has to run out, unless the broker learns of the death.
  void orphan(std::shared_ptr<Held> held) { orphans_.push_back(std::move(held)); }
  void give_back_orphans();

  // The same event once more, as a message that the broker has forgotten to have delivered.
  void deliver_again(const std::string& topic, const Event& event);

  [[nodiscard]] const std::vector<std::string>& violations() const { return violations_; }
  void violation(std::string what) { violations_.push_back(std::move(what)); }

 private:
  Sky& sky_;
  Broker& real_;
  std::vector<std::pair<const Life*, std::function<void(const std::string&)>>> listeners_;
  std::list<std::shared_ptr<Held>> orphans_;
  std::uint64_t again_ = 0;
  std::vector<std::string> violations_;
};

class FarBroker final : public Broker {
 public:
  FarBroker(std::shared_ptr<Life> life, BrokerShore& shore) : life_(std::move(life)), shore_(shore) {}
  FarBroker(const FarBroker&) = delete;
  FarBroker& operator=(const FarBroker&) = delete;
  ~FarBroker() override { shore_.forget(life_.get()); }

  Capabilities capabilities() const override { return shore_.real().capabilities(); }
  Task<Result<void>> ensure(TopicSpec topic) override { return shore_.real().ensure(std::move(topic)); }
  Task<Result<std::vector<std::string>>> topics() override { return shore_.real().topics(); }
  Task<Result<TopicInfo>> describe(std::string topic) override { return shore_.real().describe(std::move(topic)); }
  Task<Result<void>> remove_group(std::string topic, std::string group) override {
    return shore_.real().remove_group(std::move(topic), std::move(group));
  }
  Task<Result<void>> remove_topic(std::string topic) override { return shore_.real().remove_topic(std::move(topic)); }
  Task<Result<std::unique_ptr<Watch>>> watch(std::string topic, TopicWatcher& watcher) override {
    return shore_.real().watch(std::move(topic), watcher);
  }
  Task<std::vector<Result<Receipt>>> publish(std::string topic, std::vector<Outgoing> batch) override;
  Task<Result<std::unique_ptr<Subscription>>> subscribe(SubscribeOptions options) override;
  Task<Result<Lag>> lag(std::string topic, std::string group) override {
    return wire::ask(life_, "lag", shore_.real().lag(std::move(topic), std::move(group)));
  }
  Task<Result<std::vector<DeadLetter>>> dead_letters(std::string topic, std::string group, std::string after,
                                                     std::size_t limit) override {
    return shore_.real().dead_letters(std::move(topic), std::move(group), std::move(after), limit);
  }
  Task<Result<std::uint64_t>> redrive(std::string topic, std::string group, std::vector<std::string> ids) override {
    return shore_.real().redrive(std::move(topic), std::move(group), std::move(ids));
  }
  Task<Result<void>> purge(std::string topic, std::string group) override {
    return shore_.real().purge(std::move(topic), std::move(group));
  }
  void on_backlog(std::move_only_function<void(const std::string& topic)> changed) override;
  Task<void> close() override { co_return; }

 private:
  std::shared_ptr<Life> life_;
  BrokerShore& shore_;
};

}  // namespace millrace::storm
