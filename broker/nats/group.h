// A group at work in this process: what it asked the server for, what came and waits for a taker, what is held, and
// what waits for its retry or for its turn.
//
// Deliveries are asked for as many as there are next() calls with credit. While a subscription lives and nobody asks,
// one is asked for all the same: its arrival is how we hear that there is something to do. If nobody takes it within
// kUnclaimedMax it goes back, to a worker that may have a slot, and no other is asked for until somebody wants one or
// the topic was found empty.
//
// A topic that has priorities has a consumer for each: a lane. Each is asked for its share, and lanes with messages
// take turns by weight.
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
#include <vector>

#include "async/event_loop.h"
#include "async/task.h"
#include "broker/broker.h"
#include "broker/nats/core.h"
#include "broker/nats/key_turns.h"
#include "broker/nats/wire.h"
#include "broker/wait_list.h"

namespace millrace::nats {

class NatsDelivery;

class Group {
 public:
  struct Arrived {
    Message message;
    Position position;
    Mark mark;
  };

  Group(Core& core, Topic& topic, std::string name);
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  ~Group();

  [[nodiscard]] Core& core() const { return core_; }
  [[nodiscard]] const Topic& topic() const { return topic_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::string stream() const { return core_.names.stream(topic_.name); }
  // Raised when the group is removed: who subscribed before is no member of one that is made again.
  [[nodiscard]] std::uint32_t life() const { return life_; }
  [[nodiscard]] bool is_removed() const { return removed_; }
  void restored() { removed_ = false; }

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
  // A delivery whose ack is on its way: whoever sent it will want the next message when it is confirmed.
  class Settling {
   public:
    explicit Settling(Group& group) : group_(group) { ++group.settling_; }
    Settling(const Settling&) = delete;
    Settling& operator=(const Settling&) = delete;
    ~Settling() {
      --group_.settling_;
      if (group_.wanted_ > 0) group_.ask();
    }

   private:
    Group& group_;
  };
  WaitList waits;  // of next() calls
  [[nodiscard]] bool has_ready() const { return ready() > 0; }
  [[nodiscard]] std::optional<Arrived> take();

  // ---- deliveries

  void hold(std::uint64_t seq, NatsDelivery& delivery) { held_[seq] = &delivery; }
  void release(std::uint64_t seq, const Mark& mark);
  // It was given back until `delay` has passed; `ack_subject` is where the server hears of it. The server's own timer
  // is the safety net, and set a little later: ours is exact and moves with our clock.
  void wait(std::uint64_t seq, std::string ack_subject, std::chrono::milliseconds delay);
  [[nodiscard]] static std::string nak_text(std::chrono::milliseconds delay);
  KeyTurns turns;

  // ---- the server

  [[nodiscard]] Task<Result<Lag>> lag();
  [[nodiscard]] Task<Result<void>> purge();
  [[nodiscard]] Task<Result<void>> remove();
  // With all consumers. Who subscribed here hears of it if `here`.
  void topic_removed(bool here);
  void prioritized();  // the topic has priorities now
  void reconnected();  // what was asked for is forgotten there
  void check_pulls();  // now and then: a request that was lost is made again
  void lose_all();     // what is held is lost, what is ready goes back
  [[nodiscard]] const std::unordered_map<std::uint64_t, NatsDelivery*>& held() const { return held_; }
  [[nodiscard]] NatsDelivery* find_held(std::uint64_t seq) const;

 private:
  // A consumer at the server.
  struct Lane {
    Priority priority = Priority::normal;
    std::string consumer;
    std::string inbox;
    std::uint32_t asked = 0;  // of the server, and not come yet
    EventLoop::TimePoint asked_at{};
    std::deque<Arrived> ready;
    std::uint64_t pending = 0;  // behind the last one that came
    std::int64_t favour = 0;    // its place in the turns of lanes
  };

  void add_lane(Priority priority);
  void ask();  // soon, for all that came to be wanted meanwhile
  void ask_now();
  void ask(Lane& lane, std::uint32_t target);
  [[nodiscard]] bool is_expected(const Lane& lane) const;
  [[nodiscard]] Lane* choose();
  void arrived(Lane& lane, Message message);
  void told(Lane& lane, const Message& message, int status);
  void arrived_with_key(Lane& lane, Arrived arrival);
  [[nodiscard]] Task<void> look_at_turn(Lane& lane, Arrived arrival, std::uint32_t emptied);
  void obey(Lane& lane, Arrived arrival, KeyTurns::Turn turn);
  void accept(Lane& lane, Arrived arrival);
  void give_back_unclaimed();
  void rest();
  void send_back(const Arrived& arrival);
  [[nodiscard]] std::size_t ready() const;
  void forget_asked();
  // Makes the consumers anew behind `last`, or only takes them away; meanwhile the keeper holds what comes.
  [[nodiscard]] Task<Result<void>> clear_out(bool make_again);
  void emptied(std::uint64_t floor);
  void ended();
  [[nodiscard]] Task<Result<std::chrono::milliseconds>> oldest(std::uint64_t from);
  [[nodiscard]] Task<Result<std::uint64_t>> dead();

  Core& core_;
  Topic& topic_;
  const std::string name_;
  std::vector<std::unique_ptr<Lane>> lanes_;  // the first is that of Priority::normal
  std::uint32_t subscribers_ = 0;
  std::uint32_t wanted_ = 0;    // next() calls that wait
  std::uint32_t settling_ = 0;  // acks on their way
  std::uint32_t looking_ = 0;   // arrivals whose turn is being looked for
  WaitList looked_;             // until there are none
  bool asking_ = false;         // in a step that is posted already
  bool resting_ = false;        // nobody took the last one that came unasked
  std::uint32_t life_ = 0;
  std::uint32_t emptied_ = 0;  // how often
  bool removed_ = false;
  std::unordered_map<std::uint64_t, NatsDelivery*> held_;
  struct Delayed {
    std::string ack_subject;
    EventLoop::TimePoint due{};
    std::unique_ptr<EventLoop::Handle> timer;
  };
  std::unordered_map<std::uint64_t, Delayed> delayed_;
  std::unique_ptr<EventLoop::Handle> unclaimed_;
  std::unique_ptr<EventLoop::Handle> patience_;  // for a lane whose turn it is
  std::unique_ptr<EventLoop::Handle> pause_;     // too many are parked
  std::uint64_t oldest_from_ = 0;                // where it was looked for
  WallTime oldest_{};
};

}  // namespace millrace::nats
