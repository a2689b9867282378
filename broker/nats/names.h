// What things are called on the servers. With the prefix "millrace":
//
//   millrace-t-fn=resize        the stream of the topic fn.resize; '.' becomes '=', since names cannot hold it
//   millrace.t.fn=resize        the subject of its messages
//   millrace.r.fn=resize.g      of those that were redriven for the group g alone
//   millrace-dead               the stream of all dead letters, with the subjects millrace.d.<topic>.<group>
//   millrace-begun              who works on what, with the subjects millrace.b.<topic>.<group>.<sequence number>
//
// A group is a durable consumer of its name; KEEP is ours and holds messages until the first group comes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.h"

namespace millrace::nats {

inline constexpr std::string_view kKeeper = "KEEP";  // upper case: no group is called so

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
  [[nodiscard]] static std::string consumer(std::string_view group) { return token(group); }

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

 private:
  explicit Names(std::string prefix) : prefix_(std::move(prefix)) {}
  [[nodiscard]] static std::string token(std::string_view name);

  std::string prefix_;
};

}  // namespace millrace::nats
