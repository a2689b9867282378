// Deliveries and subscriptions of an embedded broker.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "async/frame_pool.h"
#include "broker/broker.h"
#include "broker/embedded_core.h"

namespace millrace::embedded {

class EmbeddedDelivery final : public Delivery, public FromFramePool {
 public:
  // Takes the next message of the group, still without its content; null when there is none.
  [[nodiscard]] static std::unique_ptr<EmbeddedDelivery> take(std::shared_ptr<Core> core, GroupRuntime& group);
  ~EmbeddedDelivery() override;

  // Takes the content if it is in memory.
  [[nodiscard]] bool find_content();
  // Reads the content; `aborted` when the message was purged or its lease ran out meanwhile.
  Task<Result<void>> load();
  // The lease is gone. The caller requests the stop, when its own state is in order.
  [[nodiscard]] std::stop_source lose();

  const Event& event() const override { return stored_->event; }
  std::chrono::system_clock::time_point published_at() const override { return stored_->published_at; }
  std::uint32_t redrives() const override { return redrives_; }
  std::stop_token lease_lost() const override;
  std::chrono::milliseconds lease() const override { return lease_; }

  Task<Result<Counters>> begin() override;
  Task<Result<void>> extend() override;
  Task<Result<void>> ack() override;
  Task<Result<void>> nak(std::chrono::milliseconds delay, NakReason reason) override;
  Task<Result<void>> term(std::string reason, Counters counters) override;

 private:
  enum class Status : std::uint8_t { loading, held, settled, lost };

  EmbeddedDelivery(std::shared_ptr<Core> core, GroupRuntime& group) : core_(std::move(core)), group_(group) {}

  [[nodiscard]] Result<void> check_held() const;
  [[nodiscard]] Result<void> give_back(std::chrono::milliseconds delay, NakReason reason);

  std::shared_ptr<Core> core_;
  GroupRuntime& group_;
  Entry* entry_ = nullptr;  // valid while loading or held
  std::uint64_t seq_ = 0;
  std::shared_ptr<const StoredMessage> stored_;
  std::uint32_t redrives_ = 0;
  std::chrono::milliseconds lease_{0};
  Status status_ = Status::loading;
  bool begun_ = false;
  mutable std::optional<std::stop_source> lost_;  // made when somebody asks: most never do
};

class EmbeddedSubscription final : public Subscription {
 public:
  EmbeddedSubscription(std::shared_ptr<Core> core, GroupRuntime& group);
  ~EmbeddedSubscription() override;

  void grant(std::uint32_t credit) override;
  std::uint32_t credit() const override { return credit_; }
  Task<Result<std::unique_ptr<Delivery>>> next(std::stop_token stop) override;

 private:
  std::shared_ptr<Core> core_;
  GroupRuntime& group_;
  const std::uint64_t life_;  // of the group
  std::uint32_t credit_ = 0;
  WaitList waits_;  // next() calls without credit
};

}  // namespace millrace::embedded
