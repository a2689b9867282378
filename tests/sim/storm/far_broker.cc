#include "tests/sim/storm/far_broker.h"

#include <optional>

#include "formats/identity.h"

namespace millrace::storm {
namespace {

// One verdict, or a repeated one; the broker refuses what comes too late.
Task<Result<void>> verdict(std::shared_ptr<Held> held, std::function<Task<Result<void>>(Delivery&)> give, bool twice) {
  auto given = co_await give(*held->delivery);
  if (twice) {
    const auto repeated = co_await give(*held->delivery);
    (void)repeated;
  }
  co_return given;
}

Task<Result<Counters>> begin(std::shared_ptr<Held> held) {
  auto counters = co_await held->delivery->begin();
  if (counters) held->begun = true;
  co_return counters;
}

Task<Result<void>> extend(std::shared_ptr<Held> held) {
  auto extended = co_await held->delivery->extend();
  co_return extended;
}

class FarDelivery final : public Delivery {
 public:
  FarDelivery(std::shared_ptr<Life> life, BrokerShore& shore, std::shared_ptr<Held> held, std::string topic)
      : life_(std::move(life)),
        shore_(shore),
        held_(std::move(held)),
        topic_(std::move(topic)),
        on_lost_(held_->delivery->lease_lost(), Tell{&life_->loop, lost_}) {}
  FarDelivery(const FarDelivery&) = delete;
  FarDelivery& operator=(const FarDelivery&) = delete;
  ~FarDelivery() override {
    if (life_->dead) {
      shore_.orphan(std::move(held_));
    } else if (verdicts_ != 1) {
      complain("drops a delivery after " + std::to_string(verdicts_) + " verdicts");
    }
  }

  const Event& event() const override { return held_->delivery->event(); }
  std::chrono::system_clock::time_point published_at() const override { return held_->delivery->published_at(); }
  std::uint32_t redrives() const override { return held_->delivery->redrives(); }
  std::stop_token lease_lost() const override { return lost_.get_token(); }
  std::chrono::milliseconds lease() const override { return held_->delivery->lease(); }

  Task<Result<Counters>> begin() override { return wire::ask(life_, "begin", storm::begin(held_)); }
  Task<Result<void>> extend() override { return wire::ask(life_, "extend", storm::extend(held_)); }
  Task<Result<void>> ack() override {
    if (life_->sky.dice.chance(life_->sky.weather.twice)) shore_.deliver_again(topic_, event());
    if (!life_->sky.ledger.may_ack(run_id())) complain("acks before the outputs are placed and published");
    return settle("ack", [](Delivery& real) { return real.ack(); });
  }
  Task<Result<void>> nak(std::chrono::milliseconds delay, NakReason reason) override {
    return settle("nak", [delay, reason](Delivery& real) { return real.nak(delay, reason); });
  }
  Task<Result<void>> term(std::string reason, Counters counters) override {
    if (!life_->sky.ledger.may_bury(run_id())) complain("makes a dead letter before the failure is committed");
    return settle("term",
                  [reason = std::move(reason), counters](Delivery& real) { return real.term(reason, counters); });
  }

 private:
  struct Tell {
    EventLoop* loop;
    std::stop_source lost;
    void operator()() {
      loop->post([lost = lost]() mutable { lost.request_stop(); });
    }
  };

  [[nodiscard]] RunId run_id() const { return make_run_id(life_->sky.uids.at(topic_), event().id, 0); }
  void complain(const std::string& what) {
    shore_.violation(life_->name + " " + what + ": run " + run_id().str() + " of " + topic_);
  }

  Task<Result<void>> settle(const char* what, std::function<Task<Result<void>>(Delivery&)> give) {
    ++verdicts_;
    const bool twice = life_->sky.dice.chance(life_->sky.weather.twice);
    return wire::ask(life_, std::string(what) + " " + event().id.str(), verdict(held_, std::move(give), twice));
  }

  std::shared_ptr<Life> life_;
  BrokerShore& shore_;
  std::shared_ptr<Held> held_;
  std::string topic_;
  int verdicts_ = 0;
  std::stop_source lost_;
  std::stop_callback<Tell> on_lost_;
};

using MaybeDelivery = Result<std::unique_ptr<Delivery>>;

struct Real {
  std::unique_ptr<Subscription> subscription;
  std::uint64_t granted = 0;
  std::uint64_t delivered = 0;
};

// Fetches for a process that may die meanwhile.
Task<void> fetch(std::shared_ptr<Life> life, BrokerShore* shore, std::shared_ptr<Real> real, std::string topic,
                 std::stop_token stop, OneShot<MaybeDelivery> answer) {
  const wire::Underway underway(*life);
  const AnyStop any(stop, life->ended.get_token());
  auto next = co_await real->subscription->next(any.token());
  if (!next) {
    answer.set(fail(next.error()));
    co_return;
  }
  if (++real->delivered > real->granted) shore->violation(topic + ": more delivered than granted");
  auto held = std::make_shared<Held>(std::move(*next));
  if (life->dead) {
    shore->orphan(std::move(held));
    co_return;
  }
  Sky& sky = life->sky;
  sky.trace.note(life->name + " receives " + held->delivery->event().id.str() + " of " + topic);
  if (sky.dice.chance(sky.weather.twice)) shore->deliver_again(topic, held->delivery->event());
  answer.set(std::unique_ptr<Delivery>(std::make_unique<FarDelivery>(life, *shore, std::move(held), topic)));
}

class FarSubscription final : public Subscription {
 public:
  FarSubscription(std::shared_ptr<Life> life, BrokerShore& shore, std::unique_ptr<Subscription> real, std::string topic)
      : life_(std::move(life)), shore_(shore), real_(std::make_shared<Real>()), topic_(std::move(topic)) {
    real_->subscription = std::move(real);
  }

  void grant(std::uint32_t credit) override {
    real_->granted += credit;
    real_->subscription->grant(credit);
  }
  std::uint32_t credit() const override { return real_->subscription->credit(); }
  Task<MaybeDelivery> next(std::stop_token stop) override {
    const OneShot<MaybeDelivery> answer(life_->loop);
    life_->sky.carriers.spawn(fetch(life_, &shore_, real_, topic_, std::move(stop), answer));
    auto delivery = co_await answer.wait();
    co_return delivery;
  }

 private:
  std::shared_ptr<Life> life_;
  BrokerShore& shore_;
  std::shared_ptr<Real> real_;
  std::string topic_;
};

// Wrapped as one Result, so that the wire can lose it as a whole.
Task<Result<std::vector<Result<Receipt>>>> publish_all(Broker& broker, std::string topic, std::vector<Outgoing> batch,
                                                       bool twice) {
  auto receipts = co_await broker.publish(topic, batch);
  if (twice) {
    const auto repeated = co_await broker.publish(topic, std::move(batch));
    (void)repeated;
  }
  co_return receipts;
}

Task<void> give_back(std::shared_ptr<Held> held) {
  const auto given =
      co_await held->delivery->nak(std::chrono::milliseconds(0), held->begun ? NakReason::lost : NakReason::shutdown);
  (void)given;  // its lease may have run out, or a verdict on the way has come
}

Task<void> publish_again(Broker& broker, std::string topic, std::vector<Outgoing> batch) {
  const auto receipts = co_await broker.publish(std::move(topic), std::move(batch));
  (void)receipts;
}

}  // namespace

void BrokerShore::give_back_orphans() {
  for (auto& held : std::exchange(orphans_, {})) sky_.carriers.spawn(give_back(std::move(held)));
}

void BrokerShore::deliver_again(const std::string& topic, const Event& event) {
  std::vector<Outgoing> batch;
  batch.push_back({.id = "again-" + std::to_string(++again_), .event = event});
  sky_.trace.note("again " + event.id.str() + " on " + topic);
  sky_.carriers.spawn(publish_again(real_, topic, std::move(batch)));
}

Task<std::vector<Result<Receipt>>> FarBroker::publish(std::string topic, std::vector<Outgoing> batch) {
  const std::size_t count = batch.size();
  const bool twice = life_->sky.dice.chance(life_->sky.weather.twice);
  const std::string what = "publish " + topic + " " + (batch.empty() ? std::string() : batch.front().id);
  auto receipts =
      co_await wire::ask(life_, what, publish_all(shore_.real(), std::move(topic), std::move(batch), twice));
  if (receipts) co_return std::move(*receipts);
  std::vector<Result<Receipt>> failed;
  for (std::size_t i = 0; i < count; ++i) failed.emplace_back(fail(receipts.error()));
  co_return failed;
}

Task<Result<std::unique_ptr<Subscription>>> FarBroker::subscribe(SubscribeOptions options) {
  const std::string topic = options.topic;
  auto real = co_await shore_.real().subscribe(std::move(options));
  if (!real) co_return fail(real.error());
  co_return std::unique_ptr<Subscription>(std::make_unique<FarSubscription>(life_, shore_, std::move(*real), topic));
}

void FarBroker::on_backlog(std::move_only_function<void(const std::string& topic)> changed) {
  auto shared = std::make_shared<std::move_only_function<void(const std::string& topic)>>(std::move(changed));
  shore_.listen(life_.get(), [life = life_.get(), shared](const std::string& topic) {
    life->loop.post([shared, topic] { (*shared)(topic); });
  });
}

}  // namespace millrace::storm
