#include "broker/nats/nats_delivery.h"

#include <algorithm>
#include <utility>

#include "async/sleep.h"
#include "broker/input_checks.h"

namespace millrace::nats {
namespace {

constexpr std::chrono::milliseconds kDroppedDelay{1000};
constexpr int kWriteTriesMax = 4;  // against others who write the same record
// So long after a connection was made those who were cut off with us may not have renewed their leases yet.
constexpr std::chrono::milliseconds kRenewalGrace{3000};
constexpr std::chrono::milliseconds kTellAgain{200};

// Also that nobody listens for acks: a server that is just starting.
bool is_passing(const Error& error) {
  return error.code == Errc::unavailable || error.code == Errc::deadline_exceeded || error.code == Errc::not_found;
}

Packet record_packet(const Core& core, const Group& group, std::uint64_t seq, const Attempt& attempt,
                     std::uint64_t revision) {
  return {.subject = core.names.begun(group.topic().name, group.name(), seq),
          .headers = {{"Nats-Expected-Last-Subject-Sequence", std::to_string(revision)}},
          .data = encode(attempt)};
}

// For a delivery that is gone by then. The core owns the task.
Task<void> give_back(Core& core, Group& group, std::uint64_t seq, std::string ack_subject,
                     std::optional<std::pair<Attempt, std::uint64_t>> begun) {
  if (begun) {
    begun->first.owner.clear();
    [[maybe_unused]] const auto written = co_await core.jetstream.publish(
        core.names.begun_stream(), record_packet(core, group, seq, begun->first, begun->second));
  }
  [[maybe_unused]] const bool sent = core.link->send({.subject = ack_subject, .data = Group::nak_text(kDroppedDelay)});
}

Task<void> forget(Core& core, std::string subject, std::uint64_t revision) {
  const std::string stream = core.names.begun_stream();
  if (revision != 0) {
    [[maybe_unused]] const auto gone = co_await core.jetstream.call(
        "STREAM.MSG.DELETE." + stream, Json::object({{"seq", revision}, {"no_erase", true}}));
  } else {
    [[maybe_unused]] const auto gone =
        co_await core.jetstream.call("STREAM.PURGE." + stream, Json::object({{"filter", std::move(subject)}}));
  }
}

}  // namespace

NatsDelivery::NatsDelivery(std::shared_ptr<Core> core, Group& group, Group::Arrived arrived)
    : core_(std::move(core)),
      group_(group),
      seq_(arrived.position.seq),
      mark_(std::move(arrived.mark)),
      first_time_(arrived.position.delivered == 1),
      owner_(core_->next_owner()),
      ack_subject_(arrived.message.reply()),
      received_(decode(arrived.message.headers(), arrived.message.subject(), std::string(arrived.message.data()),
                       {.stream = group.stream(),
                        .created = group.topic().created,
                        .seq = seq_,
                        .stored_at = stored_at(arrived.message.reply())})),
      lease_(group.topic().lease) {
  group_.hold(seq_, *this);
  lease_from_now();
}

NatsDelivery::~NatsDelivery() {
  // Also one whose verdict was being told.
  if (group_.find_held(seq_) == this) group_.release(seq_, mark_);
  if (status_ != Status::held) return;
  core_->dropped.add();
  if (core_->closed()) return;
  const bool recorded = begun_ && known_;
  core_->background.spawn(give_back(*core_, group_, seq_, ack_subject_,
                                    recorded ? std::optional(std::pair(attempt_, revision_)) : std::nullopt));
  group_.wait(seq_, ack_subject_, kDroppedDelay);
}

std::stop_source NatsDelivery::lose() {
  if (status_ == Status::held) status_ = Status::lost;
  lease_timer_.reset();
  return lost_;
}

std::optional<NatsDelivery::Abandoned> NatsDelivery::abandon() const {
  if (status_ != Status::held) return std::nullopt;
  Abandoned abandoned{.record = std::nullopt, .ack_subject = ack_subject_};
  if (begun_ && known_) {
    Attempt after{.owner = {}, .until_ms = 0, .counters = attempt_.counters};
    ++after.counters.losses;
    abandoned.record = record_packet(*core_, group_, seq_, after, revision_);
  }
  return abandoned;
}

std::optional<Packet> NatsDelivery::renewal() const {
  if (status_ != Status::held || !begun_ || !known_) return std::nullopt;
  const auto until = to_ms(core_->loop.wall_now() + lease_);
  return record_packet(*core_, group_, seq_, {.owner = owner_, .until_ms = until, .counters = attempt_.counters},
                       revision_);
}

void NatsDelivery::renewed(const Result<Stored>& written) {
  known_ = written.has_value();
  if (written) revision_ = written->seq;
}

Result<void> NatsDelivery::check_held() const {
  if (status_ == Status::settled) return fail(Errc::failed_precondition, "the delivery was settled already");
  if (auto ok = core_->usable(); !ok) return ok;
  if (status_ == Status::lost) {
    return fail(Errc::aborted, "the lease of the delivery is lost; another owner may be at work");
  }
  return {};
}

void NatsDelivery::lease_from_now() {
  lease_timer_ = core_->loop.start_timer(lease_, [this] { lease_ran_out(); });
}

void NatsDelivery::lease_ran_out() {
  if (status_ != Status::held) return;
  if (!core_->link->steady_for(std::min(kRenewalGrace, lease_))) {
    // Cut off from the servers we cannot renew, and nobody can take it from us by way of them: the function goes on.
    lease_timer_ = core_->loop.start_timer(std::min(kRenewalGrace, lease_), [this] { lease_ran_out(); });
    return;
  }
  status_ = Status::lost;
  core_->leases_lost.add();
  group_.release(seq_, mark_);
  [[maybe_unused]] const bool sent = core_->link->send({.subject = ack_subject_, .data = Group::nak_text({})});
  auto lost = lost_;
  lost.request_stop();  // may drop this delivery
}

Task<Result<void>> NatsDelivery::look_up() {
  auto kept = co_await core_->jetstream.last_message(core_->names.begun_stream(),
                                                     core_->names.begun(group_.topic().name, group_.name(), seq_));
  if (!kept && kept.error().code != Errc::not_found) co_return fail(kept.error());
  attempt_ = {};
  revision_ = 0;
  if (kept) {
    auto attempt = decode_attempt(kept->data);
    if (!attempt) co_return fail(attempt.error());
    attempt_ = std::move(*attempt);
    revision_ = kept->seq;
  }
  known_ = true;
  co_return Result<void>{};
}

Task<Result<void>> NatsDelivery::write(Attempt attempt) {
  auto stored = co_await core_->jetstream.publish(core_->names.begun_stream(),
                                                  record_packet(*core_, group_, seq_, attempt, revision_));
  known_ = stored.has_value();
  if (!stored) co_return fail(stored.error());
  attempt_ = std::move(attempt);
  revision_ = stored->seq;
  co_return Result<void>{};
}

Task<Result<Counters>> NatsDelivery::begin() {
  if (auto held = check_held(); !held) co_return fail(held.error());
  if (std::exchange(begun_, true)) co_return fail(Errc::failed_precondition, "the delivery was begun already");
  for (int tries = 1; tries <= kWriteTriesMax; ++tries) {
    // What was never delivered before has no record, unless the write below finds one.
    if (!known_ && !(first_time_ && tries == 1)) {
      auto looked = co_await look_up();
      if (!looked) {
        begun_ = tries > 1;  // a write of ours may have arrived
        co_return fail(looked.error());
      }
    }
    Counters before = attempt_.counters;
    if (!attempt_.owner.empty() && attempt_.owner != owner_) {
      const bool ours = attempt_.owner.starts_with(core_->life + ".");
      const std::chrono::milliseconds left(attempt_.until_ms - to_ms(core_->loop.wall_now()));
      const bool may_live = left.count() > 0 || !core_->link->steady_for(std::min(kRenewalGrace, lease_));
      if (!ours && may_live) {
        begun_ = false;
        auto busy = fail(Errc::unavailable, "another worker is at it, and its lease has not run out");
        busy.error().retry_after = std::max(left, std::min(kRenewalGrace, lease_));
        co_return busy;
      }
      ++before.losses;
      core_->losses.add();
    }
    const auto until = to_ms(core_->loop.wall_now() + lease_);
    auto written = co_await write({.owner = owner_, .until_ms = until, .counters = before});
    if (written) {
      if (status_ == Status::lost) {
        co_return fail(Errc::aborted, "the lease of the delivery ran out while it was begun");
      }
      co_return before;
    }
    if (written.error().code != Errc::aborted) co_return fail(written.error());
  }
  begun_ = false;
  co_return fail(Errc::unavailable, "others keep writing the record of this message's attempts");
}

Task<Result<void>> NatsDelivery::extend() {
  if (auto held = check_held(); !held) co_return held;
  [[maybe_unused]] const bool sent = core_->link->send({.subject = ack_subject_, .data = "+WPI"});
  if (begun_) {
    const auto until = to_ms(core_->loop.wall_now() + lease_);
    for (int tries = 1; tries <= kWriteTriesMax; ++tries) {
      if (!known_) {
        auto looked = co_await look_up();
        if (!looked) co_return looked;
        if (attempt_.owner != owner_) {
          if (status_ == Status::held) {
            status_ = Status::lost;
            core_->leases_lost.add();
            group_.release(seq_, mark_);
            auto lost = lost_;
            lost.request_stop();
          }
          co_return fail(Errc::aborted, "another worker has taken the message over");
        }
      }
      auto written = co_await write({.owner = owner_, .until_ms = until, .counters = attempt_.counters});
      if (written) break;
      if (written.error().code != Errc::aborted) co_return written;
    }
  }
  if (auto held = check_held(); !held) co_return held;
  lease_from_now();
  co_return Result<void>{};
}

Task<Result<void>> NatsDelivery::tell(std::string verdict) {
  const Deadline deadline(core_->loop, core_->options.verdict_timeout);
  for (;;) {
    if (auto ok = core_->usable(); !ok) co_return ok;
    auto answer =
        co_await core_->link->request({.subject = ack_subject_, .data = verdict}, core_->options.request_timeout);
    if (answer) co_return Result<void>{};
    if (!is_passing(answer.error()) || deadline.expired() || core_->closed()) co_return fail(answer.error());
    co_await core_->link->wait_connected(deadline.token());
    if (core_->closed()) co_return fail(answer.error());
    const auto slept = co_await sleep_for(core_->loop, kTellAgain, deadline.token());
    if (!slept) co_return fail(answer.error());
  }
}

void NatsDelivery::forget_record() {
  if (core_->closed() || (first_time_ && !begun_)) return;
  core_->background.spawn(
      forget(*core_, core_->names.begun(group_.topic().name, group_.name(), seq_), known_ ? revision_ : 0));
}

Task<Result<void>> NatsDelivery::settle_key() {
  const Deadline deadline(core_->loop, core_->options.verdict_timeout);
  for (;;) {
    auto done = co_await group_.turns.settle(mark_.key, seq_);
    if (done || !is_passing(done.error()) || deadline.expired() || core_->closed()) co_return done;
    co_await core_->link->wait_connected(deadline.token());
    const auto slept = co_await sleep_for(core_->loop, kTellAgain, deadline.token());
    if (!slept || core_->closed()) co_return done;
  }
}

Task<Result<void>> NatsDelivery::ack() {
  if (auto held = check_held(); !held) co_return held;
  status_ = Status::settled;
  lease_timer_.reset();
  const Group::Settling settling(group_);
  Result<void> told;
  if (!mark_.key.empty()) told = co_await settle_key();
  if (told) told = co_await tell("+ACK");
  if (told && !mark_.key.empty()) group_.turns.tidy(mark_.key, seq_);
  group_.release(seq_, mark_);
  if (told) forget_record();
  co_return told;
}

Task<Result<void>> NatsDelivery::count(NakReason reason) {
  const bool counts = reason == NakReason::failed || reason == NakReason::lost;
  if (!begun_ && !counts) co_return Result<void>{};
  const Deadline deadline(core_->loop, core_->options.verdict_timeout);
  Result<void> done;
  for (int tries = 1; tries <= kWriteTriesMax && !deadline.expired(); ++tries) {
    if (!known_ && !(first_time_ && !begun_)) {
      done = co_await look_up();
      if (!done && (!is_passing(done.error()) || core_->closed())) co_return done;
      if (!done) {
        co_await core_->link->wait_connected(deadline.token());
        tries = 0;
        continue;
      }
    }
    if (!attempt_.owner.empty() && attempt_.owner != owner_) co_return done;  // somebody else's by now
    Attempt after{.owner = {}, .until_ms = 0, .counters = attempt_.counters};
    if (reason == NakReason::failed) ++after.counters.failures;
    if (reason == NakReason::lost) ++after.counters.losses;
    done = co_await write(std::move(after));
    if (done) {
      if (reason == NakReason::lost) core_->losses.add();
      co_return done;
    }
    if (core_->closed()) co_return done;
    if (done.error().code == Errc::aborted) continue;
    if (!is_passing(done.error())) co_return done;
    co_await core_->link->wait_connected(deadline.token());
  }
  co_return done;
}

Task<Result<void>> NatsDelivery::nak(std::chrono::milliseconds delay, NakReason reason) {
  if (auto held = check_held(); !held) co_return held;
  if (auto ok = check_delay(delay); !ok) co_return ok;
  status_ = Status::settled;
  lease_timer_.reset();
  auto counted = co_await count(reason);
  group_.release(seq_, mark_);  // it may come again before the answer does
  auto told = co_await tell(Group::nak_text(delay));
  if (told) group_.wait(seq_, ack_subject_, delay);
  if (!counted) co_return counted;
  co_return told;
}

Task<Result<void>> NatsDelivery::term(std::string reason, Counters counters) {
  if (auto held = check_held(); !held) co_return held;
  status_ = Status::settled;
  if (reason.size() > kReasonBytesMax) reason.resize(kReasonBytesMax);
  Result<void> done;
  if (!known_ && !(first_time_ && !begun_)) done = co_await look_up();
  if (done) {
    const DeadLetter letter{.id = received_.id,
                            .event = {},
                            .reason = std::move(reason),
                            .counters = counters,
                            .redrives = received_.redrives,
                            .died_at = core_->loop.wall_now()};
    const std::string once = group_.stream() + ":" + group_.name() + ":" + std::to_string(seq_);
    auto stored = co_await core_->jetstream.publish(
        core_->names.dead_stream(),
        encode_dead(received_, letter, mark_, core_->names.dead(group_.topic().name, group_.name()), once));
    if (!stored) done = fail(stored.error());
  }
  if (!done) {
    if (!lost_.stop_requested()) status_ = Status::held;
    co_return done;
  }
  lease_timer_.reset();
  Result<void> told;
  if (!mark_.key.empty()) told = co_await settle_key();
  if (told) told = co_await tell("+TERM");
  if (told && !mark_.key.empty()) group_.turns.tidy(mark_.key, seq_);
  group_.release(seq_, mark_);
  if (told) forget_record();
  co_return told;
}

NatsSubscription::NatsSubscription(std::shared_ptr<Core> core, Group& group)
    : core_(std::move(core)), group_(group), life_(group.life()), waits_(core_->loop) {
  core_->credit_waits.insert(&waits_);
  group_.subscribed();
}

NatsSubscription::~NatsSubscription() {
  core_->credit_waits.erase(&waits_);
  group_.unsubscribed();
}

void NatsSubscription::grant(std::uint32_t credit) {
  credit_ += credit;
  waits_.wake_all();
}

Task<Result<std::unique_ptr<Delivery>>> NatsSubscription::next(std::stop_token stop) {
  for (;;) {
    const bool usable = !stop.stop_requested() && core_->usable() && credit_ > 0;
    if (!usable && group_.has_ready()) group_.waits.wake(1);  // what this call was woken for is somebody else's now
    if (stop.stop_requested()) co_return fail(Errc::cancelled, "cancelled while waiting for a message");
    if (auto ok = core_->usable(); !ok) co_return fail(ok.error());
    if (group_.life() != life_) co_return fail(Errc::not_found, "the group was removed");
    if (credit_ == 0) {
      co_await waits_.wait(stop);
      continue;
    }
    auto arrived = group_.take();
    if (!arrived) {
      const Group::Wanting wanting(group_);
      co_await group_.waits.wait(stop);
      continue;
    }
    --credit_;
    co_return std::make_unique<NatsDelivery>(core_, group_, std::move(*arrived));
  }
}

}  // namespace millrace::nats
