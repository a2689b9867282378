// A group at work in this process: what it asked the server for, what came and waits for a taker, what is held, and
// what waits for its retry.
//
// Deliveries are asked for as many as there are next() calls with credit. While a subscription lives and nobody asks,
// one is asked for all the same: its arrival is how we hear that there is something to do. If nobody takes it within
// kUnclaimedMax it goes back, to a worker that may have a slot, and no other is asked for until somebody wants one or
// the topic was found empty.
//
// Thread: the loop's.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "async/event_loop.h"
#include "async/task.h"
#include "broker/broker.h"
#include "broker/nats/core.h"
#include "broker/nats/wire.h"
#include "broker/wait_list.h"

namespace millrace::nats {

class NatsDelivery;

class Group {
 public:
  struct Arrived {
    Message message;
    Position position;
  };

  Group(Core& core, Topic& topic, std::string name);
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  ~Group();

  [[nodiscard]] Core& core() const { return core_; }
  [[nodiscard]] const Topic& topic() const { return topic_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::string stream() const { return core_.names.stream(topic_.name); }

  // ---- subscriptions

  void subscribed();
  void unsubscribed();
  [[nodiscard]] bool has_subscriber() const { return subscribers_ > 0; }

  // A next() call that may be given a message, while it exists.
  class Wanting {
   public:
    explicit Wanting(Group& group) : group_(group) {
      ++group.wanted_;
      group.ask();
    }
    Wanting(const Wanting&) = delete;
    Wanting& operator=(const Wanting&) = delete;
    ~Wanting() { --group_.wanted_; }

   private:
    Group& group_;
  };
  WaitList waits;  // of next() calls
  [[nodiscard]] bool has_ready() const { return !ready_.empty(); }
  [[nodiscard]] std::optional<Arrived> take();

  // ---- deliveries

  void hold(std::uint64_t seq, NatsDelivery& delivery) { held_[seq] = &delivery; }
  void release(std::uint64_t seq) { held_.erase(seq); }
  // It was given back until `delay` has passed; `ack_subject` is where the server hears of it. The server's own timer
  // is the safety net, and set a little later: ours is exact and moves with our clock.
  void wait(std::uint64_t seq, std::string ack_subject, std::chrono::milliseconds delay);
  [[nodiscard]] static std::string nak_text(std::chrono::milliseconds delay);

  // ---- the server

  [[nodiscard]] Task<Result<Lag>> lag();
  [[nodiscard]] Task<Result<void>> purge();
  void reconnected();  // what was asked for is forgotten there
  void check_pulls();  // now and then: a request that was lost is made again
  void lose_all();     // what is held is lost, what is ready goes back
  [[nodiscard]] const std::unordered_map<std::uint64_t, NatsDelivery*>& held() const { return held_; }
  [[nodiscard]] NatsDelivery* find_held(std::uint64_t seq) const;

 private:
  void ask();
  void arrived(Message message);
  void told(const Message& message, int status);
  void give_back_unclaimed();
  void send_back(const Message& message);
  [[nodiscard]] Task<Result<std::chrono::milliseconds>> oldest(std::uint64_t from);
  [[nodiscard]] Task<Result<std::uint64_t>> dead();

  Core& core_;
  Topic& topic_;
  const std::string name_;
  const std::string inbox_;
  std::uint32_t subscribers_ = 0;
  std::uint32_t wanted_ = 0;  // next() calls that wait
  std::uint32_t asked_ = 0;   // of the server, and not come yet
  bool resting_ = false;      // nobody took the last one that came unasked
  EventLoop::TimePoint asked_at_{};
  std::deque<Arrived> ready_;
  std::unordered_map<std::uint64_t, NatsDelivery*> held_;
  struct Delayed {
    std::string ack_subject;
    std::unique_ptr<EventLoop::Handle> timer;
  };
  std::unordered_map<std::uint64_t, Delayed> delayed_;
  std::unique_ptr<EventLoop::Handle> unclaimed_;
  std::uint64_t oldest_from_ = 0;  // where it was looked for
  WallTime oldest_{};
};

}  // namespace millrace::nats
