// Deliveries and subscriptions of a NATS broker.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "broker/broker.h"
#include "broker/nats/group.h"
#include "broker/nats/wire.h"

namespace millrace::nats {

class NatsDelivery final : public Delivery {
 public:
  NatsDelivery(std::shared_ptr<Core> core, Group& group, Group::Arrived arrived);
  ~NatsDelivery() override;

  // The server delivered it again although it is held: from now on it hears of it under this subject.
  void renewed(std::string ack_subject) { ack_subject_ = std::move(ack_subject); }
  // The lease is gone. The caller requests the stop, when its own state is in order.
  [[nodiscard]] std::stop_source lose();
  // Of a broker that is being closed: how the attempt, if one has begun, is counted as lost, and where to give the
  // message back. Nothing when it is settled.
  struct Abandoned {
    std::optional<Packet> record;
    std::string ack_subject;
  };
  [[nodiscard]] std::optional<Abandoned> abandon() const;
  // The record that renews the lease of an attempt; nothing when there is none to renew. Whoever writes it tells.
  [[nodiscard]] std::optional<Packet> renewal() const;
  void renewed(const Result<Stored>& written);
  [[nodiscard]] const std::string& owner() const { return owner_; }

  const Event& event() const override { return received_.event; }
  std::chrono::system_clock::time_point published_at() const override { return received_.published_at; }
  std::uint32_t redrives() const override { return received_.redrives; }
  std::stop_token lease_lost() const override { return lost_.get_token(); }
  std::chrono::milliseconds lease() const override { return lease_; }

  Task<Result<Counters>> begin() override;
  Task<Result<void>> extend() override;
  Task<Result<void>> ack() override;
  Task<Result<void>> nak(std::chrono::milliseconds delay, NakReason reason) override;
  Task<Result<void>> term(std::string reason, Counters counters) override;

 private:
  enum class Status : std::uint8_t { held, settled, lost };

  [[nodiscard]] Result<void> check_held() const;
  void lease_from_now();
  void lease_ran_out();
  // The record of attempts, as the server has it; none: owner and counters empty, revision 0.
  [[nodiscard]] Task<Result<void>> look_up();
  // Writes the record if nobody else did meanwhile (`aborted`), and knows it afterwards.
  [[nodiscard]] Task<Result<void>> write(Attempt attempt);
  // Tells the server until it has heard, as long as verdict_timeout lasts.
  [[nodiscard]] Task<Result<void>> tell(std::string verdict);
  void forget_record();
  // Of a message with a key: that it is settled, before anybody is told, as long as verdict_timeout lasts.
  [[nodiscard]] Task<Result<void>> settle_key();
  [[nodiscard]] Task<Result<void>> count(NakReason reason);

  std::shared_ptr<Core> core_;
  Group& group_;
  const std::uint64_t seq_;
  const Mark mark_;
  const bool first_time_;
  const std::string owner_;  // this delivery, in the record of attempts
  std::string ack_subject_;
  Received received_;
  std::chrono::milliseconds lease_;
  Status status_ = Status::held;
  bool begun_ = false;
  bool known_ = false;  // attempt_ and revision_ are what the server has
  Attempt attempt_;
  std::uint64_t revision_ = 0;
  std::stop_source lost_;
  std::unique_ptr<EventLoop::Handle> lease_timer_;
};

class NatsSubscription final : public Subscription {
 public:
  NatsSubscription(std::shared_ptr<Core> core, Group& group);
  ~NatsSubscription() override;

  void grant(std::uint32_t credit) override;
  std::uint32_t credit() const override { return credit_; }
  Task<Result<std::unique_ptr<Delivery>>> next(std::stop_token stop) override;

 private:
  std::shared_ptr<Core> core_;
  Group& group_;
  const std::uint32_t life_;  // of the group
  std::uint32_t credit_ = 0;
  WaitList waits_;  // next() calls without credit
};

}  // namespace millrace::nats
