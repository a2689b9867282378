// Whose turn it is among the messages of an ordering key, for one group.
//
// A message may be worked on when every earlier one of its key is settled. The servers' consumers know nothing of keys,
// so a record per key says up to which number all are settled; the first message of the key behind that number is the
// one whose turn it is. It is written, by compare-and-set, before a verdict is told: a message that comes again though
// its record says it is settled needs only that verdict. That turn is never taken back, since later messages have
// greater numbers: no lock is needed, and the lease of the message is all that keeps two workers apart.
//
// A message that comes too early is parked: given back with a delay that the server keeps, and called for at once when
// the one before it is settled, here or by another process, whose record everybody hears.
//
// Thread: the loop's. Part of its group.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>

#include "async/event_loop.h"
#include "async/task.h"
#include "broker/nats/core.h"

namespace millrace::nats {

class KeyTurns {
 public:
  // Beyond so many parked messages others of the group come slowly: the window within which a busy key stops nobody.
  static constexpr std::size_t kParkedMax = 10'000;
  // Keys of which nothing is here any more, kept because the next message of theirs is cheaper so.
  static constexpr std::size_t kIdleMax = 10'000;
  // So long the server holds back what is parked; nobody may be there to call for it.
  static constexpr std::chrono::milliseconds kParkedFor{30'000};

  KeyTurns(Core& core, std::string topic, std::string group);

  enum class Turn : std::uint8_t { now, later, over };  // over: it is settled, and only its verdict was lost

  // What can be said without asking: nothing when the server must be asked.
  [[nodiscard]] std::optional<Turn> known(const std::string& key, std::uint64_t seq);
  [[nodiscard]] Task<Result<Turn>> look(std::string key, std::uint64_t seq);

  // A message is in this process's hands, its turn being looked for or found, until it leaves.
  void enter(const std::string& key, std::uint64_t seq) { keys_[key].here.insert(seq); }
  void leave(const std::string& key, std::uint64_t seq);

  // To be called for under `ack_subject`. False when there are too many: then only the server's delay brings it back.
  bool park(const std::string& key, std::uint64_t seq, std::string ack_subject);
  // Calls for all that is parked: what was heard meanwhile is not known.
  void call_all();
  void clear();  // they are gone
  // Now and then, for what was not heard.
  void look_again();

  // Records that all messages of the key up to this one are settled. Errors: unavailable and its like; try again.
  [[nodiscard]] Task<Result<void>> settle(std::string key, std::uint64_t seq);
  // The verdict was told: looks which message is the next one; the record goes when nothing of the key is left.
  void tidy(const std::string& key, std::uint64_t seq);
  // Somebody settled it.
  void heard(const std::string& key, std::uint64_t settled);

  // Everything up to there is settled, whatever records say: the group was emptied.
  void set_floor(std::uint64_t seq) { floors_.fill(seq); }

  // How many wait behind others of their key, as far as this process knows.
  [[nodiscard]] std::size_t blocked() const { return parked_ > calling_ ? parked_ - calling_ : 0; }
  [[nodiscard]] std::size_t parked() const { return parked_; }
  [[nodiscard]] bool full() const { return parked_ >= kParkedMax; }

 private:
  struct Parked {
    std::string ack_subject;
    EventLoop::TimePoint until;  // then the server gives it to anybody
  };
  struct Key {
    std::set<std::uint64_t> here;
    std::map<std::uint64_t, Parked> parked;
    std::uint64_t settled = 0;  // as far as was heard or read
    bool known = false;         // `recorded` and `revision` are the record, as far as was heard
    std::uint64_t recorded = 0;
    std::uint64_t revision = 0;
    std::uint64_t next = 0;  // whose turn it is; 0: unknown
    bool calling = false;
  };
  using Keys = std::unordered_map<std::string, Key>;

  [[nodiscard]] Task<Result<void>> read(std::string key);
  // The first message of the key for this group behind `after`; 0: there is none.
  [[nodiscard]] Task<Result<std::uint64_t>> first_behind(std::string key, std::uint64_t after);
  [[nodiscard]] Task<Result<void>> ask_floor(Priority priority);
  [[nodiscard]] Task<void> call_next(std::string key);
  [[nodiscard]] Task<void> look_ahead(std::string key, std::uint64_t seq, std::uint64_t revision);
  void call(Key& key, std::map<std::uint64_t, Parked>::iterator parked);
  void drop_if_empty(Keys::iterator key);
  void stop_calling(const std::string& key);

  Core& core_;
  const std::string topic_;
  const std::string group_;
  Keys keys_;
  std::size_t parked_ = 0;                           // of all keys
  std::size_t calling_ = 0;                          // keys whose next one is just looked for
  std::array<std::uint64_t, kPriorities> floors_{};  // of each priority everything up to there is settled
};

}  // namespace millrace::nats
