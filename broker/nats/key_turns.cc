#include "broker/nats/key_turns.h"

#include <algorithm>
#include <utility>

#include "broker/nats/wire.h"

namespace millrace::nats {
namespace {

constexpr std::size_t kLookedAgainMax = 100;
constexpr int kWriteTriesMax = 8;  // against others who write the same record
constexpr std::string_view kNak = "-NAK";

}  // namespace

KeyTurns::KeyTurns(Core& core, std::string topic, std::string group)
    : core_(core), topic_(std::move(topic)), group_(std::move(group)) {}

std::optional<KeyTurns::Turn> KeyTurns::known(const std::string& key, std::uint64_t seq) {
  const auto found = keys_.find(key);
  if (found == keys_.end()) return std::nullopt;
  Key& state = found->second;
  // What was parked longer ago than the server waits may be anybody's by now.
  while (!state.parked.empty() && state.parked.begin()->second.until < core_.loop.now()) {
    state.parked.erase(state.parked.begin());
    --parked_;
  }
  if (state.parked.contains(seq)) {  // the server gave it out again
    state.parked.erase(seq);
    --parked_;
  }
  if (state.next == seq) return Turn::now;
  // One that is settled stays here until its verdict is told, and nobody calls again for what is parked behind it.
  const auto ahead = state.here.upper_bound(state.settled);
  const bool behind =
      (ahead != state.here.end() && *ahead < seq) || (!state.parked.empty() && state.parked.begin()->first < seq);
  return behind ? std::optional(Turn::later) : std::nullopt;
}

Task<Result<void>> KeyTurns::read(std::string key) {
  auto kept = co_await core_.jetstream.last_message(core_.names.begun_stream(), core_.names.turn(topic_, group_, key));
  if (!kept && kept.error().code != Errc::not_found) co_return fail(kept.error());
  std::uint64_t settled = 0;
  if (kept) {
    const auto decoded = decode_turn(kept->data);
    if (!decoded) co_return fail(decoded.error());
    settled = *decoded;
  }
  Key& state = keys_[key];
  state.known = true;
  state.recorded = settled;
  state.settled = std::max(state.settled, settled);
  state.revision = kept ? kept->seq : 0;
  co_return Result<void>{};
}

Task<Result<std::uint64_t>> KeyTurns::first_behind(std::string key, std::uint64_t after) {
  const std::string stream = core_.names.stream(topic_);
  std::array<bool, kPriorities> asked{};
  for (std::uint64_t from = std::max(after, std::ranges::min(floors_)) + 1;;) {
    auto kept = co_await core_.jetstream.next_message(stream, from, core_.names.of_key(topic_, key));
    if (!kept && kept.error().code == Errc::not_found) co_return std::uint64_t{0};
    if (!kept) co_return fail(kept.error());
    from = kept->seq + 1;
    const auto mark = core_.names.mark_of(kept->subject);
    if (!mark || (!mark->group.empty() && mark->group != group_)) continue;  // was redriven for another group
    const auto found = keys_.find(key);
    if (found != keys_.end() && found->second.here.contains(kept->seq)) co_return kept->seq;
    // It may be one that this group settled before its record began, and that another group still wants.
    const auto which = static_cast<std::size_t>(mark->priority);
    if (kept->seq > floors_[which] && !std::exchange(asked[which], true)) {
      auto floor = co_await ask_floor(mark->priority);
      if (!floor) co_return fail(floor.error());
    }
    if (kept->seq > floors_[which]) co_return kept->seq;
  }
}

Task<Result<void>> KeyTurns::ask_floor(Priority priority) {
  auto info = co_await core_.jetstream.call("CONSUMER.INFO." + core_.names.stream(topic_) + "." +
                                            Names::consumer(group_, priority));
  if (!info) co_return fail(info.error());
  const Json* floor = info->find("ack_floor");
  auto& known = floors_[static_cast<std::size_t>(priority)];
  known = std::max(known, floor == nullptr ? 0 : floor->uint_or("stream_seq", 0));
  co_return Result<void>{};
}

Task<Result<KeyTurns::Turn>> KeyTurns::look(std::string key, std::uint64_t seq) {
  for (bool fresh = false;; fresh = true) {
    if (fresh || !keys_[key].known) {
      auto read_it = co_await read(key);
      if (!read_it) co_return fail(read_it.error());
      fresh = true;
    }
    if (seq <= keys_[key].recorded) co_return Turn::over;
    const std::uint64_t settled = keys_[key].settled;
    if (seq <= settled) co_return Turn::later;  // whoever said so is not believed before it can be read
    const auto first = co_await first_behind(key, settled);
    if (!first) co_return fail(first.error());
    if (*first != 0) keys_[key].next = *first;
    // None at all: it was removed by hand, and what is left of it is ours to settle.
    if (*first == 0 || *first >= seq) co_return Turn::now;
    if (keys_[key].settled != settled) continue;  // heard meanwhile: nobody would call for what is parked now
    if (fresh) co_return Turn::later;             // else somebody may have settled more than we heard
  }
}

void KeyTurns::leave(const std::string& key, std::uint64_t seq) {
  const auto found = keys_.find(key);
  if (found == keys_.end()) return;
  found->second.here.erase(seq);
  drop_if_empty(found);
}

void KeyTurns::drop_if_empty(Keys::iterator key) {
  const bool idle = key->second.here.empty() && key->second.parked.empty() && !key->second.calling;
  if (idle && (key->second.settled == 0 || keys_.size() > kIdleMax)) keys_.erase(key);
}

bool KeyTurns::park(const std::string& key, std::uint64_t seq, std::string ack_subject) {
  if (full()) return false;
  const auto [parked, added] = keys_[key].parked.insert_or_assign(
      seq, Parked{.ack_subject = std::move(ack_subject), .until = core_.loop.now() + kParkedFor});
  if (added) ++parked_;
  return true;
}

void KeyTurns::call(Key& key, std::map<std::uint64_t, Parked>::iterator parked) {
  [[maybe_unused]] const bool sent =
      core_.link->send({.subject = parked->second.ack_subject, .data = std::string(kNak)});
  key.parked.erase(parked);
  --parked_;
}

void KeyTurns::call_all() {
  for (auto key = keys_.begin(); key != keys_.end();) {
    const auto state = key++;
    state->second.known = false;
    state->second.next = 0;
    while (!state->second.parked.empty()) call(state->second, state->second.parked.begin());
    drop_if_empty(state);
  }
}

void KeyTurns::clear() {
  keys_.clear();
  parked_ = 0;
  calling_ = 0;
}

Task<Result<void>> KeyTurns::settle(std::string key, std::uint64_t seq) {
  for (int tries = 1; tries <= kWriteTriesMax; ++tries) {
    if (!keys_[key].known) {
      auto read_it = co_await read(key);
      if (!read_it) co_return read_it;
    }
    if (keys_[key].recorded >= seq) co_return Result<void>{};
    const std::uint64_t revision = keys_[key].revision;
    auto stored = co_await core_.jetstream.publish(
        core_.names.begun_stream(), {.subject = core_.names.turn(topic_, group_, key),
                                     .headers = {{"Nats-Expected-Last-Subject-Sequence", std::to_string(revision)}},
                                     .data = encode_turn(seq)});
    if (stored) {
      [[maybe_unused]] const bool told =
          core_.link->send({.subject = core_.names.turn_news(topic_, group_, key), .data = encode_turn(seq)});
      heard(key, seq);
      Key& state = keys_[key];
      if (state.settled == seq) {
        state.known = true;
        state.recorded = seq;
        state.revision = stored->seq;
      }
      co_return Result<void>{};
    }
    keys_[key].known = false;
    if (stored.error().code != Errc::aborted) co_return fail(stored.error());
  }
  co_return fail(Errc::unavailable, "others keep writing the record of this ordering key");
}

void KeyTurns::heard(const std::string& key, std::uint64_t settled) {
  const auto found = keys_.try_emplace(key).first;
  if (settled <= found->second.settled) {
    drop_if_empty(found);
    return;
  }
  Key& state = found->second;
  state.settled = settled;
  state.known = false;  // its revision is another
  if (state.next <= settled) state.next = 0;
  while (!state.parked.empty() && state.parked.begin()->first <= settled) {
    state.parked.erase(state.parked.begin());
    --parked_;
  }
  if (state.parked.empty() || std::exchange(state.calling, true)) {
    drop_if_empty(found);
    return;
  }
  ++calling_;
  core_.background.spawn(call_next(key));
}

Task<void> KeyTurns::call_next(std::string key) {
  for (;;) {
    auto found = keys_.find(key);
    if (found == keys_.end() || core_.closed()) co_return;
    const std::uint64_t settled = found->second.settled;
    const auto first = co_await first_behind(key, settled);
    found = keys_.find(key);
    if (found == keys_.end() || core_.closed()) co_return;
    Key& state = found->second;
    if (state.settled != settled) continue;  // one more was settled meanwhile
    auto next = first && *first != 0 ? state.parked.find(*first) : state.parked.end();
    if (first && *first != 0) state.next = *first;
    if (!first) next = state.parked.begin();  // it will be looked at when it comes
    stop_calling(key);
    if (next != state.parked.end()) call(state, next);
    drop_if_empty(keys_.find(key));
    co_return;
  }
}

void KeyTurns::look_again() {
  std::size_t looked = 0;
  for (auto& [key, state] : keys_) {
    if (state.parked.empty() || state.calling) continue;
    if (++looked > kLookedAgainMax) return;
    state.calling = true;
    ++calling_;
    core_.background.spawn(call_next(key));
  }
}

void KeyTurns::stop_calling(const std::string& key) {
  const auto found = keys_.find(key);
  if (found != keys_.end() && std::exchange(found->second.calling, false)) --calling_;
}

void KeyTurns::tidy(const std::string& key, std::uint64_t seq) {
  const auto found = keys_.find(key);
  if (core_.closed() || found == keys_.end()) return;
  const Key& state = found->second;
  if (state.known && state.settled == seq && state.next <= seq && !state.calling) {
    core_.background.spawn(look_ahead(key, seq, state.revision));
  }
}

// The record must stay as long as the stream keeps the message for another group. Removed by its own number, a record
// that somebody wrote meanwhile is not touched.
Task<void> KeyTurns::look_ahead(std::string key, std::uint64_t seq, std::uint64_t revision) {
  const auto kept =
      co_await core_.jetstream.next_message(core_.names.stream(topic_), seq, core_.names.of_key(topic_, key));
  if (core_.closed()) co_return;
  auto found = keys_.find(key);
  if (kept) {
    const auto mark = core_.names.mark_of(kept->subject);
    const bool ours = mark && (mark->group.empty() || mark->group == group_) && kept->seq > seq;
    if (ours && found != keys_.end() && found->second.settled == seq) found->second.next = kept->seq;
    co_return;
  }
  if (kept.error().code != Errc::not_found) co_return;
  const auto gone = co_await core_.jetstream.call("STREAM.MSG.DELETE." + core_.names.begun_stream(),
                                                  Json::object({{"seq", revision}, {"no_erase", true}}));
  found = keys_.find(key);
  if (found == keys_.end() || found->second.revision != revision) co_return;
  if (gone) {
    found->second.revision = 0;
  } else {
    found->second.known = false;
  }
}

}  // namespace millrace::nats
