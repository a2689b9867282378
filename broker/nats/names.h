// What things are called on the servers. With the prefix "millrace":
//
//   millrace-t-fn=resize        the stream of the topic fn.resize; '.' becomes '=', since names cannot hold it
//   millrace.t.fn=resize        the subject of its messages
//   millrace.r.fn=resize.g      of those that were redriven for the group g alone
//   millrace.k.fn=resize.ALL.high.<digest of the key>
//                               of those with a priority or an ordering key ('-': none), for ALL or for one group
//   millrace-dead               the stream of all dead letters, with the subjects millrace.d.<topic>.<group>
//   millrace-begun              who works on what, with the subjects millrace.b.<topic>.<group>.<sequence number>, and
//                               how far each ordering key is: millrace.o.<topic>.<group>.<digest of the key>
//
// A group is a durable consumer of its name; where a topic has priorities, two more stand beside it, <group>-LOW and
// <group>-HIGH. KEEP is ours and holds messages until the first group comes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "broker/broker.h"
#include "core/error.h"

namespace millrace::nats {

inline constexpr std::string_view kKeeper = "KEEP";  // upper case: no group is called so

// What the subject of a message says of it beside its topic.
struct Mark {
  std::string group{};  // the one it was redriven for; empty: for all
  Priority priority = Priority::normal;
  std::string key{};  // the digest of its ordering key; empty: none

  [[nodiscard]] bool plain() const { return key.empty() && priority == Priority::normal; }
  bool operator==(const Mark&) const = default;
};

[[nodiscard]] std::string_view name_of(Priority priority);
[[nodiscard]] std::optional<Priority> priority_of(std::string_view name);
// 32 hex digits stand for a key in subjects.
[[nodiscard]] std::string key_digest(std::string_view key);
[[nodiscard]] bool is_key_digest(std::string_view text);

class Names {
 public:
  // `prefix`: 1 to 32 of [a-z0-9_], which make() checks.
  [[nodiscard]] static Result<Names> make(std::string prefix);

  [[nodiscard]] std::string stream(std::string_view topic) const { return prefix_ + "-t-" + token(topic); }
  [[nodiscard]] std::optional<std::string> topic_of(std::string_view stream) const;
  [[nodiscard]] std::string all_topics() const { return prefix_ + ".t.>"; }
  [[nodiscard]] std::string subject(std::string_view topic) const { return prefix_ + ".t." + token(topic); }
  [[nodiscard]] std::string redriven(std::string_view topic, std::string_view group) const {
    return prefix_ + ".r." + token(topic) + "." + (group == "*" ? "*" : token(group));
  }
  // Where a message goes that is more than plain, and what such a subject says; nothing when it is none.
  [[nodiscard]] std::string marked(std::string_view topic, const Mark& mark) const;
  [[nodiscard]] std::optional<Mark> mark_of(std::string_view subject) const;
  [[nodiscard]] std::string all_marked(std::string_view topic) const {
    return prefix_ + ".k." + token(topic) + ".*.*.*";
  }
  [[nodiscard]] std::string marked_for_all(std::string_view topic) const;
  [[nodiscard]] std::string of_key(std::string_view topic, std::string_view digest) const {
    return prefix_ + ".k." + token(topic) + ".*.*." + std::string(digest);
  }
  // The subjects that a group's consumer of a priority listens to.
  [[nodiscard]] std::vector<std::string> filters(std::string_view topic, std::string_view group,
                                                 Priority priority) const;

  [[nodiscard]] static std::string consumer(std::string_view group, Priority priority = Priority::normal);

  // The group of a consumer; nothing for the keeper and the further consumers of a group.
  [[nodiscard]] static std::optional<std::string> group_of(std::string_view consumer);

  [[nodiscard]] std::string dead_stream() const { return prefix_ + "-dead"; }
  [[nodiscard]] std::string all_dead() const { return prefix_ + ".d.*.*"; }
  [[nodiscard]] std::string dead(std::string_view topic, std::string_view group) const {
    return prefix_ + ".d." + token(topic) + "." + token(group);
  }

  [[nodiscard]] std::string begun_stream() const { return prefix_ + "-begun"; }
  [[nodiscard]] std::string all_begun() const { return prefix_ + ".b.*.*.*"; }
  [[nodiscard]] std::string begun(std::string_view topic, std::string_view group, std::uint64_t seq) const {
    return prefix_ + ".b." + token(topic) + "." + token(group) + "." + std::to_string(seq);
  }
  [[nodiscard]] std::string begun_of(std::string_view topic, std::string_view group) const {
    return prefix_ + ".b." + token(topic) + "." + token(group) + ".*";
  }
  [[nodiscard]] std::string all_turns() const { return prefix_ + ".o.*.*.*"; }
  [[nodiscard]] std::string turn(std::string_view topic, std::string_view group, std::string_view digest) const {
    return prefix_ + ".o." + token(topic) + "." + token(group) + "." + std::string(digest);
  }
  [[nodiscard]] std::string turns_of(std::string_view topic, std::string_view group) const {
    return prefix_ + ".o." + token(topic) + "." + token(group) + ".*";
  }
  // What was written there is told of here.
  [[nodiscard]] std::string turn_news(std::string_view topic, std::string_view group, std::string_view digest) const {
    return prefix_ + ".n." + token(topic) + "." + token(group) + "." + std::string(digest);
  }
  // A topic that has priorities from now on is told of here.
  [[nodiscard]] std::string prioritized(std::string_view topic) const { return prefix_ + ".p." + token(topic); }
  // A topic that was removed is told of here.
  [[nodiscard]] std::string removed(std::string_view topic) const { return prefix_ + ".x." + token(topic); }
  // What all processes hear of each other.
  [[nodiscard]] std::vector<std::string> news() const {
    return {prefix_ + ".n.*.*.*", prefix_ + ".p.*", prefix_ + ".x.*"};
  }
  // Of a subject of the news: its kind, 'n', 'p' or 'x', and the tokens behind it.
  struct News {
    char kind = 0;
    std::string topic;
    std::string group;
    std::string_view digest;
  };
  [[nodiscard]] std::optional<News> news_of(std::string_view subject) const;

 private:
  explicit Names(std::string prefix) : prefix_(std::move(prefix)) {}
  [[nodiscard]] static std::string token(std::string_view name);
  [[nodiscard]] static std::string name(std::string_view token);

  std::string prefix_;
};

}  // namespace millrace::nats
