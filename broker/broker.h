// The broker port: durable topics between those who publish and the workers.
//
//   auto broker = co_await open_log_broker(options, loop);
//   co_await broker->publish("fn.resize", std::move(batch));
//   auto subscription = co_await broker->subscribe({.topic = "fn.resize", .group = "workers"});
//   subscription->grant(4);                                   // four free slots, so at most four deliveries
//   auto delivery = co_await subscription->next(stop);
//   co_await delivery->ack();
//
// Promise, on every backend: a message whose publish was confirmed is delivered at least once to every group of its
// topic, until that group acks or terminates it, whatever process dies in between. Nothing here promises exactly once:
// the commit of a run builds that on top. What a backend cannot do is a false flag in Capabilities, never a silent
// difference.
//
// Threads: everything below is called on the domain loop and resumes there. Adapters hop inside.
// Lifetime: a Broker outlives its Subscriptions, a Subscription its Deliveries.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "async/task.h"
#include "core/error.h"
#include "core/event.h"

namespace millrace {

// How safe a confirmed publish is when every process of the broker loses power at once.
enum class Durability : std::uint8_t {
  memory,      // gone with the broker's process
  page_cache,  // survives the process, not the power
  synced,      // on stable storage
  replicated,  // acknowledged by a majority, each at least page_cache
};

[[nodiscard]] std::string_view name_of(Durability durability);

struct Capabilities {
  Durability confirm = Durability::memory;
  bool native_delay = false;       // delayed delivery kept by the broker, not by us
  bool durable_attempts = false;   // begin() survives the death of the worker
  bool ordered_keys = false;       // Outgoing::key is kept: one message of a key at a time and in order, across workers
  bool priorities = false;         // Outgoing::priority is kept
  bool exact_lag = false;          // Lag counts are exact when nothing moves
  bool detects_id_reuse = false;   // an id with other bytes is refused, not taken as a repeat
  bool lists_waiting = false;      // waiting() can tell
  bool bounds_count_dead = false;  // the bounds of a topic count its dead letters; else those have a bound of their own
  std::size_t message_bytes_max = 0;
};

// Names of topics: 1 to 200 characters of [a-z0-9._-], not starting with '.'; `fn.<function>` are work topics, ours.
[[nodiscard]] Result<void> check_topic_name(std::string_view topic);
[[nodiscard]] std::string work_topic(std::string_view function);
inline constexpr std::string_view kWorkersGroup = "workers";
// The group in which a function reads a user topic.
[[nodiscard]] std::string function_group(std::string_view function);

// What comes first among the messages that wait for a group: by weight, never strictly, so that the low ones get on
// beneath a flood of high ones.
enum class Priority : std::uint8_t { low, normal, high };
inline constexpr std::size_t kPriorities = 3;

// Of twelve deliveries while all three wait, so many are of this priority.
[[nodiscard]] constexpr std::uint32_t weight_of(Priority priority) {
  constexpr std::array<std::uint32_t, kPriorities> kWeights{1, 3, 8};
  return kWeights[static_cast<std::size_t>(priority)];
}

inline constexpr std::size_t kKeyBytesMax = 1024;

// One message to publish. `id` makes repeats within the topic's dedupe window harmless: the caller derives it from what
// the message means, never from when it is sent.
struct Outgoing {
  std::string id;
  Event event;
  std::chrono::milliseconds delay{0};  // not delivered earlier
  // The ordering key, up to kKeyBytesMax. Of the messages of one key each group gets one at a time, in the order of
  // their publish: the next comes when the one before was acked or became a dead letter, however often that was tried
  // and delayed. A redriven one joins at the end. Empty: no order. Where `ordered_keys` is false it is `unimplemented`.
  std::string key{};
  Priority priority = Priority::normal;  // `normal` everywhere; another where `priorities` is false is `unimplemented`
  // For readers of other programs: the event as one JSON document, where messages have headers and JSON can hold it.
  // Deliveries are the same.
  bool structured = false;
};

struct Receipt {
  bool duplicate = false;  // the id was known; nothing was added
};

// What has become of a message so far, durable before the function starts (see Delivery::begin).
struct Counters {
  std::uint32_t failures = 0;  // attempts that ended with an outcome other than success
  std::uint32_t losses = 0;    // attempts whose worker vanished without an outcome
};

enum class NakReason : std::uint8_t {
  failed,    // counts a failure
  lost,      // counts a loss: the attempt's process vanished under a worker that lives
  overload,  // the rest count nothing
  shutdown,
  infrastructure,
};

// The right to work on one message for as long as the lease is renewed. Settle it exactly once; a second verdict fails
// with `failed_precondition`, one after the lease is lost with `aborted` where the backend can tell.
// Dropped without a verdict it counts as nak(1 s, infrastructure) and shows in a metric.
class Delivery {
 public:
  virtual ~Delivery() = default;

  [[nodiscard]] virtual const Event& event() const = 0;
  [[nodiscard]] virtual std::chrono::system_clock::time_point published_at() const = 0;  // of the first publish
  [[nodiscard]] virtual std::uint32_t redrives() const = 0;           // how often it came back from the dead letters
  [[nodiscard]] virtual std::stop_token lease_lost() const = 0;       // requested on the loop when ownership is gone
  [[nodiscard]] virtual std::chrono::milliseconds lease() const = 0;  // its full length; extend every third of it

  // Records durably that an attempt starts, before anything runs, and returns the counters without it. A message that
  // is redelivered although its owner still lives is not begun again: `unavailable` with the rest of the owner's lease
  // as retry_after. A message may be handed out before its publish is confirmed; once this returns, it is that safe.
  virtual Task<Result<Counters>> begin() = 0;

  virtual Task<Result<void>> extend() = 0;
  virtual Task<Result<void>> ack() = 0;  // confirmed by the broker when this returns
  virtual Task<Result<void>> nak(std::chrono::milliseconds delay, NakReason reason) = 0;
  // Into the dead letters: bytes, id, reason, and `counters`, the last attempt among them.
  virtual Task<Result<void>> term(std::string reason, Counters counters) = 0;
};

// Membership of a group on a topic. Delivers nothing until credit is granted, and never more than was granted: each
// delivery handed out uses one, whatever becomes of it.
class Subscription {
 public:
  virtual ~Subscription() = default;

  virtual void grant(std::uint32_t credit) = 0;  // adds to what is outstanding
  [[nodiscard]] virtual std::uint32_t credit() const = 0;
  virtual Task<Result<std::unique_ptr<Delivery>>> next(std::stop_token stop) = 0;  // `cancelled` when stopped
};

struct Lag {
  std::uint64_t pending = 0;    // deliverable now
  std::uint64_t in_flight = 0;  // delivered, not settled
  std::uint64_t delayed = 0;    // not yet due
  std::uint64_t blocked = 0;    // behind an earlier one of their key
  std::uint64_t dead = 0;
  std::chrono::milliseconds oldest{0};  // age of the oldest message that is not dead
  bool overdue = false;                 // it is older than the topic's overdue_after: nobody seems to work here

  [[nodiscard]] std::uint64_t open() const { return pending + in_flight + delayed + blocked; }
};

struct TopicSpec {
  std::string name;
  std::vector<std::string> groups;  // made with the topic, so that nothing published is missed
  std::chrono::milliseconds lease = std::chrono::seconds(30);
  std::chrono::milliseconds dedupe_window = std::chrono::minutes(10);
  // Of messages that some group has not settled, dead letters included. Full is `no_space` for publishers: nothing is
  // ever dropped to make room.
  std::uint64_t bytes_max = 1ULL << 40;
  std::uint64_t messages_max = 10'000'000;
  // A group whose oldest message is older is told of, by Lag::overdue and in the log.
  std::chrono::milliseconds overdue_after = std::chrono::hours(24 * 7);

  bool operator==(const TopicSpec&) const = default;
};

// A topic as it is.
struct TopicInfo {
  TopicSpec spec;               // its settings, and all its groups, in any order
  std::uint64_t messages = 0;   // that are kept: some group has not settled them, or they wait for the first group
  std::uint64_t published = 0;  // ever, redriven ones included where the backend counts those; never goes back
};

// A message that waits in a group, for those who look: it stays where it is.
struct WaitingMessage {
  std::string position{};  // in the list of its group, opaque: where the next page begins
  Event event;
  std::chrono::system_clock::time_point published_at{};
  Counters counters;
  std::uint32_t redrives = 0;
  std::optional<std::chrono::milliseconds> due_in{};  // not delivered earlier
  bool blocked = false;                               // behind an earlier one of its key
};

struct SubscribeOptions {
  std::string topic;
  std::string group;
};

struct DeadLetter {
  std::string position{};  // in the list of its group, opaque: where the next page begins
  std::string id;          // of the message; the same may be there twice, once its dedupe window is over
  Event event;
  std::string reason;
  Counters counters;
  std::uint32_t redrives = 0;
  std::chrono::system_clock::time_point died_at{};
};

// Who is shown what is published on a topic. Called on the loop, and only to note it: nothing may be asked or changed
// from in there.
class TopicWatcher {
 public:
  virtual ~TopicWatcher() = default;

  // `key`: its ordering key, where the backend can tell.
  virtual void seen(const Event& event, std::string_view key, std::chrono::system_clock::time_point published_at) = 0;
  virtual void missed(std::uint64_t count) = 0;  // so many went by unseen; 0: some, and nobody knows how many
  virtual void topic_removed() = 0;              // nothing more comes
};

// Watching lasts as long as this lives. On the loop.
class Watch {
 public:
  virtual ~Watch() = default;
};

class Broker {
 public:
  virtual ~Broker() = default;

  [[nodiscard]] virtual Capabilities capabilities() const = 0;

  // Makes the topic and its groups, or changes their settings; never loses messages. Idempotent.
  virtual Task<Result<void>> ensure(TopicSpec topic) = 0;
  virtual Task<Result<std::vector<std::string>>> topics() = 0;  // sorted
  virtual Task<Result<TopicInfo>> describe(std::string topic) = 0;

  // Per item a receipt or an error, in the order given; one item's failure does not touch the others. A success means
  // confirmed at `capabilities().confirm`. Errors: not_found (topic), too_large, invalid_argument (id), already_exists
  // (the id was published with other content), no_space, unavailable.
  virtual Task<std::vector<Result<Receipt>>> publish(std::string topic, std::vector<Outgoing> batch) = 0;

  // A group that is not there yet is made, and sees what is still retained for others.
  virtual Task<Result<std::unique_ptr<Subscription>>> subscribe(SubscribeOptions options) = 0;
  virtual Task<Result<Lag>> lag(std::string topic, std::string group) = 0;

  // What a group has not settled and is not dead, as of the moment of the answer, in the order of its publish;
  // otherwise as dead_letters(). Where `lists_waiting` is false it is `unimplemented`.
  virtual Task<Result<std::vector<WaitingMessage>>> waiting(std::string topic, std::string group, std::string after,
                                                            std::size_t limit);
  // Oldest first, at most `limit` and some MiB, those behind the position `after` (empty: from the start), which may be
  // that of one that is gone by now. An empty page is the end. `invalid_argument`: that is no position.
  virtual Task<Result<std::vector<DeadLetter>>> dead_letters(std::string topic, std::string group, std::string after,
                                                             std::size_t limit) = 0;
  // Puts dead letters back under their old ids with both counters at zero and the redrive count raised. No ids: all.
  // Returns how many.
  virtual Task<Result<std::uint64_t>> redrive(std::string topic, std::string group, std::vector<std::string> ids) = 0;

  // Throws away what a group has not settled, dead letters included; other groups and topics are not touched.
  virtual Task<Result<void>> purge(std::string topic, std::string group) = 0;

  // Takes the group away with everything it has not settled, dead letters included: it keeps no message back any more.
  // Its leases are lost. A group made again under its name is a new one. `not_found`.
  virtual Task<Result<void>> remove_group(std::string topic, std::string group) = 0;

  // Takes the topic away with all that is in it: its messages, every group with its dead letters, its bounds, the ids
  // that it knew. Its leases are lost. What is published to it meanwhile is confirmed and goes with the rest, or is
  // `not_found`. A topic made again under its name is a new one. `not_found`.
  virtual Task<Result<void>> remove_topic(std::string topic) = 0;

  // Why nothing can be published now, as far as is known without asking anybody: no connection, no room on its disk, a
  // disk that failed. Nothing: no reason is known.
  [[nodiscard]] virtual std::optional<Error> trouble() const { return std::nullopt; }

  // Shows `watcher`, which outlives the Watch, what is published on the topic from now on, each event once it is
  // confirmed; repeats are not. No group has less for it, and nothing is kept for a watcher. `not_found`.
  virtual Task<Result<std::unique_ptr<Watch>>> watch(std::string topic, TopicWatcher& watcher) = 0;

  // Runs `changed` on the loop, in a step of its own, when messages of `topic` may have become deliverable. One
  // listener.
  virtual void on_backlog(std::move_only_function<void(const std::string& topic)> changed) = 0;

  // Gives back what is held and makes everything durable. Nothing may be called afterwards.
  virtual Task<void> close() = 0;
};

}  // namespace millrace
