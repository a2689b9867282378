#include "broker/embedded_delivery.h"

#include <utility>

#include "broker/input_checks.h"

namespace millrace::embedded {
namespace {

constexpr std::chrono::milliseconds kDroppedDelay{1000};
constexpr std::chrono::milliseconds kUnreadableDelay = std::chrono::seconds(30);

}  // namespace

std::unique_ptr<EmbeddedDelivery> EmbeddedDelivery::take(std::shared_ptr<Core> core, GroupRuntime& group) {
  // The object comes first: the entry must know its holder before anything can go wrong.
  std::unique_ptr<EmbeddedDelivery> delivery(new EmbeddedDelivery(std::move(core), group));
  Core& owner = *delivery->core_;
  Entry* entry = group.group.take(owner.loop.now() + group.topic.settings.lease, delivery.get());
  if (entry == nullptr) {
    delivery->status_ = Status::settled;
    return nullptr;
  }
  delivery->entry_ = entry;
  delivery->seq_ = entry->seq;
  delivery->redrives_ = entry->redrives;
  delivery->lease_ = group.topic.settings.lease;
  owner.changed(group);
  return delivery;
}

EmbeddedDelivery::~EmbeddedDelivery() {
  if (status_ == Status::settled) return;
  if (status_ == Status::loading) {  // nobody has seen it: back to where it was
    group_.group.put_back(*entry_, true);
    core_->changed(group_);
    return;
  }
  if (!stored_) return;  // lost while loading
  if (status_ == Status::lost) return;
  core_->dropped.add();
  if (!give_back(kDroppedDelay, NakReason::infrastructure)) {
    // Nothing can be written: the message waits in memory only, and a restart brings it back as well.
    group_.group.delay(*entry_, core_->loop.now() + kDroppedDelay);
    core_->changed(group_);
  }
}

bool EmbeddedDelivery::find_content() {
  stored_ = group_.topic.content(seq_);
  if (!stored_) return false;
  status_ = Status::held;
  return true;
}

Task<Result<void>> EmbeddedDelivery::load() {
  constexpr int kTriesMax = 3;  // the log may move the record while it is read
  for (int tries = 0; tries < kTriesMax && status_ == Status::loading; ++tries) {
    if (find_content()) {
      group_.group.extend(*entry_, core_->loop.now() + lease_);  // reading may have taken a while
      co_return Result<void>{};
    }
    auto loaded = co_await core_->journal->load(group_.topic, seq_, true);
    if (!loaded && status_ == Status::loading) {
      status_ = Status::settled;
      group_.group.delay(*entry_, core_->loop.now() + kUnreadableDelay);
      core_->changed(group_);
      co_return fail(loaded.error());
    }
  }
  co_return fail(Errc::aborted, "the message was taken back while it was read");
}

std::stop_source EmbeddedDelivery::lose() {
  status_ = Status::lost;
  entry_ = nullptr;
  if (!lost_) lost_.emplace();
  return *lost_;
}

std::stop_token EmbeddedDelivery::lease_lost() const {
  if (!lost_) lost_.emplace();
  return lost_->get_token();
}

Result<void> EmbeddedDelivery::check_held() const {
  if (status_ == Status::settled) return fail(Errc::failed_precondition, "the delivery was settled already");
  if (status_ == Status::lost && core_->journal) {
    return fail(Errc::aborted, "the lease of the delivery is lost; another owner may be at work");
  }
  return core_->usable();
}

Task<Result<Counters>> EmbeddedDelivery::begin() {
  if (auto held = check_held(); !held) co_return fail(held.error());
  if (begun_) co_return fail(Errc::failed_precondition, "the delivery was begun already");
  const Counters before = entry_->counters;
  entry_->begun = true;
  if (auto written = core_->journal->write_entry(group_.group, *entry_, {}); !written) {
    entry_->begun = false;
    co_return fail(written.error());
  }
  begun_ = true;
  auto confirmed = co_await core_->journal->confirm();
  if (!confirmed) co_return fail(confirmed.error());
  if (status_ == Status::lost) co_return fail(Errc::aborted, "the lease of the delivery ran out while it was begun");
  co_return before;
}

Task<Result<void>> EmbeddedDelivery::extend() {
  if (auto held = check_held(); !held) co_return held;
  group_.group.extend(*entry_, core_->loop.now() + lease_);
  co_return Result<void>{};
}

Task<Result<void>> EmbeddedDelivery::ack() {
  if (auto held = check_held(); !held) co_return held;
  if (auto written = core_->journal->write_settled(group_.group, seq_); !written) co_return written;
  status_ = Status::settled;
  if (group_.group.settle(seq_)) core_->changed(group_);
  auto confirmed = co_await core_->journal->confirm();
  co_return confirmed;
}

Result<void> EmbeddedDelivery::give_back(std::chrono::milliseconds delay, NakReason reason) {
  if (auto ok = core_->usable(); !ok) return ok;
  Entry after = *entry_;
  after.begun = false;
  if (reason == NakReason::failed) ++after.counters.failures;
  if (reason == NakReason::lost) ++after.counters.losses;
  if (auto written = core_->journal->write_entry(group_.group, after, delay); !written) return written;
  if (reason == NakReason::lost) core_->losses.add();
  status_ = Status::settled;
  entry_->begun = false;
  entry_->counters = after.counters;
  if (delay > std::chrono::milliseconds(0)) {
    group_.group.delay(*entry_, core_->loop.now() + delay);
  } else {
    group_.group.put_back(*entry_, false);
  }
  core_->changed(group_);
  return {};
}

Task<Result<void>> EmbeddedDelivery::nak(std::chrono::milliseconds delay, NakReason reason) {
  if (auto held = check_held(); !held) co_return held;
  if (auto ok = check_delay(delay); !ok) co_return ok;
  if (auto given = give_back(delay, reason); !given) co_return given;
  auto confirmed = co_await core_->journal->confirm();
  co_return confirmed;
}

Task<Result<void>> EmbeddedDelivery::term(std::string reason, Counters counters) {
  if (auto held = check_held(); !held) co_return held;
  if (reason.size() > kReasonBytesMax) reason.resize(kReasonBytesMax);
  const auto now = core_->loop.wall_now().time_since_epoch();
  DeadEntry dead{.id = stored_->id,
                 .reason = std::move(reason),
                 .counters = counters,
                 .redrives = entry_->redrives,
                 .died_ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count()};
  if (auto written = core_->journal->write_dead(group_.group, seq_, dead); !written) co_return written;
  status_ = Status::settled;
  if (group_.group.bury(seq_, std::move(dead))) core_->changed(group_);
  auto confirmed = co_await core_->journal->confirm();
  co_return confirmed;
}

EmbeddedSubscription::EmbeddedSubscription(std::shared_ptr<Core> core, GroupRuntime& group)
    : core_(std::move(core)), group_(group), life_(group.life), waits_(core_->loop) {
  core_->credit_waits.insert(&waits_);
}

EmbeddedSubscription::~EmbeddedSubscription() {
  core_->credit_waits.erase(&waits_);
}

void EmbeddedSubscription::grant(std::uint32_t credit) {
  credit_ += credit;
  waits_.wake_all();
}

Task<Result<std::unique_ptr<Delivery>>> EmbeddedSubscription::next(std::stop_token stop) {
  for (;;) {
    if (stop.stop_requested()) {
      if (group_.group.has_ready()) group_.waits.wake(1);  // what this call was woken for is somebody else's now
      co_return fail(Errc::cancelled, "cancelled while waiting for a message");
    }
    if (auto ok = core_->usable(); !ok) co_return fail(ok.error());
    if (group_.life != life_) co_return fail(Errc::not_found, "the group was removed");
    if (credit_ == 0) {
      if (group_.group.has_ready()) group_.waits.wake(1);
      co_await waits_.wait(stop);
      continue;
    }
    auto delivery = EmbeddedDelivery::take(core_, group_);
    if (!delivery) {
      co_await group_.waits.wait(stop);
      continue;
    }
    --credit_;
    if (delivery->find_content()) co_return std::unique_ptr<Delivery>(std::move(delivery));
    auto loaded = co_await delivery->load();
    if (loaded) co_return std::unique_ptr<Delivery>(std::move(delivery));
    ++credit_;
    if (loaded.error().code != Errc::aborted) co_return fail(loaded.error());
  }
}

}  // namespace millrace::embedded
