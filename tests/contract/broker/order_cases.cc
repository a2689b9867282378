// Ordering keys and priorities.
#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <set>

#include "tests/contract/broker/broker_contract.h"

namespace millrace::contract {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

Outgoing keyed(std::string id, std::string key, milliseconds delay = {}) {
  Outgoing message = make_message(id, id, delay);
  message.key = std::move(key);
  return message;
}

Outgoing with_priority(std::string id, Priority priority) {
  Outgoing message = make_message(id, id);
  message.priority = priority;
  return message;
}

template <class... Messages>
std::vector<Outgoing> batch_of(Messages... messages) {
  std::vector<Outgoing> batch;
  (batch.push_back(std::move(messages)), ...);
  return batch;
}

struct Worker {
  std::unique_ptr<Subscription> subscription;
  std::shared_ptr<Running<Result<std::unique_ptr<Delivery>>>> asking;
  std::unique_ptr<Delivery> held;
};

// What the group may see of each key, for the test below.
class KeyModel {
 public:
  void published(int number) { open_[number % kKeys].push_back(number); }
  void taken(int number) {
    const auto& key = open_.at(number % kKeys);
    ASSERT_FALSE(key.empty());
    EXPECT_EQ(number, key.front()) << "of its key another one comes first";
    EXPECT_TRUE(held_.insert(number % kKeys).second) << "another of its key is held";
    EXPECT_LE(due_[number % kKeys], now_) << "its retry is not due";
  }
  void given_back(int number, seconds delay) {
    held_.erase(number % kKeys);
    due_[number % kKeys] = now_ + delay;
  }
  void done(int number) {
    held_.erase(number % kKeys);
    auto& key = open_.at(number % kKeys);
    key.erase(key.begin());
    if (key.empty()) open_.erase(number % kKeys);
  }
  void advance(seconds span) { now_ += span; }
  [[nodiscard]] bool finished() const { return open_.empty(); }
  [[nodiscard]] bool something_deliverable() const {
    return std::ranges::any_of(open_, [&](const auto& each) {
      const auto due = due_.find(each.first);
      return !held_.contains(each.first) && (due == due_.end() || due->second <= now_);
    });
  }

  static constexpr int kKeys = 100;

 private:
  std::map<int, std::vector<int>> open_;
  std::set<int> held_;
  std::map<int, seconds> due_;
  seconds now_{0};
};

TEST_P(BrokerContract, OneMessageOfAKeyAtATimeInTheOrderOfPublishForSeveralWorkers) {
  MILLRACE_NEEDS(ordered_keys);
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  make_topic();
  KeyModel model;
  const int messages = moves_server_time() ? 10'000 : 2'000;  // a server that syncs takes its time
  for (int number = 0; number < messages;) {
    std::vector<Outgoing> batch;
    for (int i = 0; i < 1000; ++i, ++number) {
      batch.push_back(keyed(std::to_string(number), "key " + std::to_string(number % KeyModel::kKeys)));
      model.published(number);
    }
    const auto receipts = publish_all(std::move(batch));
    ASSERT_TRUE(std::ranges::all_of(receipts, [](const auto& each) { return each.has_value(); }));
  }

  std::array<Worker, 4> workers;
  std::vector<std::shared_ptr<Running<Result<void>>>> verdicts;
  std::vector<std::unique_ptr<Delivery>> settled;  // until their verdicts are confirmed
  for (auto& worker : workers) worker.subscription = subscribe("t", "g", 0);
  while (!model.finished() && !HasFailure()) {
    for (auto& worker : workers) {
      if (worker.held || worker.asking) continue;
      worker.subscription->grant(1);
      worker.asking = start(worker.subscription->next({}));
    }
    const auto answered = [&] {
      return std::ranges::any_of(workers, [](const auto& each) { return each.asking && each.asking->done(); });
    };
    const bool idle = std::ranges::any_of(workers, [](const auto& each) { return each.asking != nullptr; });
    if (idle && model.something_deliverable()) {
      ASSERT_TRUE(wait_for(answered));
    } else if (std::ranges::none_of(workers, [](const auto& each) { return each.held != nullptr; })) {
      advance(seconds(1));
      model.advance(seconds(1));
    }
    for (auto& worker : workers) {
      if (!worker.asking || !worker.asking->done()) continue;
      ASSERT_EQ(outcome(*worker.asking->value), "ok");
      worker.held = std::move(**worker.asking->value);
      worker.asking.reset();
      model.taken(std::stoi(worker.held->event().data));
    }
    for (auto& worker : workers) {
      if (!worker.held || random() % 2 == 0) continue;
      const int number = std::stoi(worker.held->event().data);
      if (random() % 10 == 0) {
        const seconds delay(random() % 3);
        model.given_back(number, delay);
        verdicts.push_back(start(worker.held->nak(delay, NakReason::failed)));
      } else {
        model.done(number);
        verdicts.push_back(start(worker.held->ack()));
      }
      settled.push_back(std::move(worker.held));
    }
    if (verdicts.size() < 100 && !model.finished()) continue;
    for (auto& verdict : verdicts) {
      finish(*verdict);
      EXPECT_EQ(outcome(*verdict->value), "ok");
    }
    verdicts.clear();
    settled.clear();
  }
  EXPECT_EQ(lag().open(), 0U);
}

TEST_P(BrokerContract, RetryOfAMessageHoldsBackItsKeyAndNothingElse) {
  MILLRACE_NEEDS(ordered_keys);
  make_topic();
  publish_all(batch_of(keyed("a1", "a"), keyed("a2", "a"), keyed("b1", "b"), make_message("free", "free")));
  const auto subscription = subscribe();
  const auto first = next(*subscription);
  EXPECT_EQ(first->event().data, "a1");
  ASSERT_EQ(outcome(await(first->nak(seconds(10), NakReason::failed))), "ok");
  EXPECT_EQ(drain(*subscription), (std::vector<std::string>{"b1", "free"}));
  EXPECT_EQ(lag().pending, 0U);
  EXPECT_EQ(lag().blocked, 1U);
  EXPECT_EQ(lag().delayed, 1U);
  EXPECT_EQ(lag().open(), 2U);
  advance(seconds(10));
  const auto again = next(*subscription);
  EXPECT_EQ(again->event().data, "a1");
  EXPECT_TRUE(nothing(*subscription));
  ASSERT_EQ(outcome(await(again->ack())), "ok");
  EXPECT_EQ(next(*subscription)->event().data, "a2");
}

TEST_P(BrokerContract, DelayAtPublishHoldsBackItsKey) {
  MILLRACE_NEEDS(ordered_keys);
  MILLRACE_NEEDS(native_delay);
  make_topic();
  publish_all(batch_of(keyed("a1", "a", seconds(10)), keyed("a2", "a"), keyed("a3", "a", seconds(20))));
  const auto subscription = subscribe();
  EXPECT_TRUE(nothing(*subscription));
  advance(seconds(10));
  EXPECT_EQ(drain(*subscription), (std::vector<std::string>{"a1", "a2"}));
  advance(milliseconds(9'999));
  EXPECT_TRUE(nothing(*subscription));
  advance(milliseconds(1));
  EXPECT_EQ(next(*subscription)->event().data, "a3");
}

TEST_P(BrokerContract, LostLeaseKeepsTheKeyForTheSameMessage) {
  MILLRACE_NEEDS(ordered_keys);
  make_topic({.name = "t", .groups = {"g"}, .lease = seconds(2)});
  publish_all(batch_of(keyed("a1", "a"), keyed("a2", "a")));
  const auto subscription = subscribe();
  const auto lost = next(*subscription);
  advance(seconds(2));
  const auto again = next(*subscription);
  EXPECT_EQ(again->event().data, "a1");
  EXPECT_TRUE(nothing(*subscription));
}

TEST_P(BrokerContract, DeadLetterFreesItsKeyAndARedrivenOneJoinsAtTheEnd) {
  MILLRACE_NEEDS(ordered_keys);
  make_topic();
  publish_all(batch_of(keyed("a1", "a"), keyed("a2", "a"), keyed("a3", "a")));
  const auto subscription = subscribe();
  ASSERT_EQ(outcome(await(next(*subscription)->term("bad", {}))), "ok");
  const auto second = next(*subscription);
  EXPECT_EQ(second->event().data, "a2");
  ASSERT_EQ(*await(broker().redrive("t", "g", {"a1"})), 1U);
  EXPECT_TRUE(nothing(*subscription)) << "its key is taken";
  EXPECT_EQ(lag().blocked, 2U);
  ASSERT_EQ(outcome(await(second->ack())), "ok");
  EXPECT_EQ(drain(*subscription), (std::vector<std::string>{"a3", "a1"}));
  EXPECT_EQ(lag().open(), 0U);

  publish_all(batch_of(keyed("a4", "a")));
  ASSERT_EQ(outcome(await(next(*subscription)->term("bad", {}))), "ok");
  ASSERT_EQ(*await(broker().redrive("t", "g", {})), 1U);
  EXPECT_EQ(drain(*subscription), std::vector<std::string>{"a4"});
}

TEST_P(BrokerContract, KeyIsKeptOverARestart) {
  MILLRACE_NEEDS(ordered_keys);
  MILLRACE_NEEDS_A_DISK();
  make_topic();
  publish_all(batch_of(keyed("a1", "a"), keyed("a2", "a"), keyed("b1", "b"), keyed("b2", "b")));
  {
    const auto subscription = subscribe();
    const auto held = next(*subscription);
    ASSERT_EQ(outcome(await(held->begin())), "ok");
    const auto other = next(*subscription);
    ASSERT_EQ(other->event().data, "b1");
    ASSERT_EQ(outcome(await(other->nak(seconds(60), NakReason::failed))), "ok");
    crash();
  }
  const auto subscription = subscribe();
  const auto first = next(*subscription);
  EXPECT_EQ(first->event().data, "a1");
  EXPECT_TRUE(nothing(*subscription)) << "b1 waits for its retry, and b2 for b1";
  ASSERT_EQ(outcome(await(first->ack())), "ok");
  const auto second = next(*subscription);
  EXPECT_EQ(second->event().data, "a2");
  ASSERT_EQ(outcome(await(second->ack())), "ok");
  EXPECT_TRUE(nothing(*subscription));
  if (!moves_server_time()) return;  // the retry goes by the clock of the server
  advance(seconds(60));
  EXPECT_EQ(drain(*subscription), (std::vector<std::string>{"b1", "b2"}));
}

TEST_P(BrokerContract, EachGroupHasItsOwnKeys) {
  MILLRACE_NEEDS(ordered_keys);
  make_topic();
  publish_all(batch_of(keyed("a1", "a"), keyed("a2", "a"), keyed("a3", "a")));
  const auto subscription = subscribe();
  ASSERT_EQ(outcome(await(next(*subscription)->ack())), "ok");
  const auto held = next(*subscription);
  EXPECT_EQ(held->event().data, "a2");

  const auto late = subscribe("t", "late");
  const auto theirs = next(*late);
  EXPECT_EQ(theirs->event().data, "a2");
  EXPECT_TRUE(nothing(*late));
  ASSERT_EQ(outcome(await(theirs->ack())), "ok");
  EXPECT_EQ(next(*late)->event().data, "a3");
  EXPECT_TRUE(nothing(*subscription)) << "the other group's ack frees nothing here";
}

TEST_P(BrokerContract, PurgeFreesTheKeys) {
  MILLRACE_NEEDS(ordered_keys);
  make_topic();
  publish_all(batch_of(keyed("a1", "a"), keyed("a2", "a")));
  const auto subscription = subscribe();
  const auto held = next(*subscription);
  ASSERT_EQ(outcome(await(broker().purge("t", "g"))), "ok");
  publish_all(batch_of(keyed("a3", "a")));
  EXPECT_EQ(drain(*subscription), std::vector<std::string>{"a3"});
  EXPECT_EQ(lag().open(), 0U);
}

TEST_P(BrokerContract, KeysOfAnySortWithinTheirBound) {
  MILLRACE_NEEDS(ordered_keys);
  make_topic();
  const auto receipts =
      publish_all(batch_of(keyed("1", std::string(kKeyBytesMax, 'k')), keyed("2", std::string(kKeyBytesMax + 1, 'k')),
                           keyed("3", std::string("\0\n\xff", 3)), keyed("4", "")));
  EXPECT_EQ(outcome(receipts[0]), "ok");
  EXPECT_EQ(outcome(receipts[1]), "invalid_argument");
  EXPECT_EQ(outcome(receipts[2]), "ok");
  EXPECT_EQ(outcome(receipts[3]), "ok");
  if (survives_restart()) restart();
  EXPECT_EQ(drain(*subscribe()).size(), 3U);
}

TEST_P(BrokerContract, PrioritiesShareByWeightAndNoneStarves) {
  MILLRACE_NEEDS(priorities);
  make_topic();
  std::vector<Outgoing> batch;
  for (int i = 0; i < 300; ++i) {
    batch.push_back(with_priority("low " + std::to_string(i), Priority::low));
    batch.push_back(with_priority("normal " + std::to_string(i), Priority::normal));
    batch.push_back(with_priority("high " + std::to_string(i), Priority::high));
  }
  publish_all(std::move(batch));
  if (survives_restart()) restart();
  const auto subscription = subscribe();
  std::map<char, int> count;
  std::map<char, int> last;
  for (int i = 0; i < 120; ++i) {
    const auto delivery = next(*subscription);
    const std::string& data = delivery->event().data;
    ++count[data[0]];
    const int number = std::stoi(data.substr(data.find(' ')));
    EXPECT_TRUE(!last.contains(data[0]) || last[data[0]] < number) << "within a priority the order is that of publish";
    last[data[0]] = number;
    ASSERT_EQ(outcome(await(delivery->ack())), "ok");
  }
  // 10, 30 and 80 to the letter; a backend that fetches ahead may be a little off.
  EXPECT_NEAR(count['l'], 10, 5);
  EXPECT_NEAR(count['n'], 30, 10);
  EXPECT_NEAR(count['h'], 80, 15);
}

TEST_P(BrokerContract, RetryKeepsItsPriority) {
  MILLRACE_NEEDS(priorities);
  make_topic();
  publish_all(batch_of(with_priority("urgent", Priority::high)));
  const auto subscription = subscribe();
  ASSERT_EQ(outcome(await(next(*subscription)->nak(seconds(1), NakReason::failed))), "ok");
  std::vector<Outgoing> batch;
  for (int i = 0; i < 50; ++i) batch.push_back(with_priority("low " + std::to_string(i), Priority::low));
  publish_all(std::move(batch));
  advance(seconds(1));
  bool seen = false;
  for (int i = 0; i < 3 && !seen; ++i) {
    const auto delivery = next(*subscription);
    seen = delivery->event().data == "urgent";
    ASSERT_EQ(outcome(await(delivery->ack())), "ok");
  }
  EXPECT_TRUE(seen);
}

}  // namespace
}  // namespace millrace::contract
