// Points at which a test ends this process, to see that nothing is lost and nothing happens twice whatever step it dies
// after. Compiled into the executable of the fault tests only; elsewhere a point is an empty statement.
//
//   MILLRACE_FAIL_POINT(after_commit);
//
//   MILLRACE_FAIL="after_commit after_place_one:3 after_seal=stop"   at the first passage of the one, the third of the
//                                     other; SIGKILL without more, `=stop`: SIGSTOP, for who wants to kill another
//                                     process
//   MILLRACE_FAIL_DIR=DIR             where a point that strikes leaves a file of its name: it strikes once per folder,
//                                     however often the process is started again. Without it, nothing fails.
//
// Threads: any.
#pragma once

#ifndef MILLRACE_FAIL_POINTS

#define MILLRACE_FAIL_POINT(name) static_cast<void>(0)

#else

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#define MILLRACE_FAIL_POINT(name)                                                                     \
  do {                                                                                                \
    static_assert(::millrace::fail_points::index_of(#name) < ::millrace::fail_points::kNames.size()); \
    ::millrace::fail_points::pass(::millrace::fail_points::index_of(#name));                          \
  } while (false)

namespace millrace::fail_points {

// All of them, in the order in which an event meets them. The fault tests read this list, and each strikes in a test.
inline constexpr auto kNames = std::to_array<std::string_view>({
    // an event comes in
    "after_publish_receipt",
    "after_seen",
    // it is delivered
    "after_receive",
    "after_begin",
    "after_stage_in",
    // an attempt
    "after_attempt_row",
    "after_attempt_directory",
    "after_execute",
    "after_seal",
    "after_commit",
    // the committed row is finished
    "after_place_one",
    "after_place",
    "after_publish_one",
    "after_publish_event",
    "after_publish",
    "after_mark",
    // the verdict
    "after_ack",
    "after_dead_letter",
    "after_nak",
    // an attempt that failed, or that made nothing
    "after_end_attempt",
    "after_remove_attempt",
    "after_forget_attempt",
    // what the sweeper does for the dead
    "after_sweep_finish",
    "after_sweep_abandon",
    "after_sweep_remove",
    "after_sweep_forget",
    // a record is old
    "after_retention_directory",
    "after_retention_remove",
});

constexpr std::size_t index_of(std::string_view name) {
  return static_cast<std::size_t>(std::ranges::find(kNames, name) - kNames.begin());
}

// Strikes when `wanted` (see above) asks for this passage of the point and its file is not there yet.
inline void strike(std::string_view wanted, const std::string& folder, std::string_view name, unsigned passage) {
  while (!wanted.empty()) {
    const auto blank = wanted.find(' ');
    std::string_view one = wanted.substr(0, blank);
    wanted = blank == std::string_view::npos ? std::string_view() : wanted.substr(blank + 1);
    if (!one.starts_with(name)) continue;
    one.remove_prefix(name.size());
    if (!one.empty() && one.front() != ':' && one.front() != '=') continue;  // a longer name
    const bool stop = one.ends_with("=stop");
    const unsigned long at = one.starts_with(':') ? std::strtoul(std::string(one.substr(1)).c_str(), nullptr, 10) : 1;
    if (passage != at) continue;
    std::FILE* const file = std::fopen((folder + "/" + std::string(name)).c_str(), "wx");
    if (file == nullptr) continue;
    std::fclose(file);
    static_cast<void>(std::raise(stop ? SIGSTOP : SIGKILL));
  }
}

inline void pass(std::size_t point) {
  static std::array<std::atomic<unsigned>, kNames.size()> passages{};  // of this process
  static const char* wanted = std::getenv("MILLRACE_FAIL");
  static const char* folder = std::getenv("MILLRACE_FAIL_DIR");
  if (wanted == nullptr || folder == nullptr) return;
  strike(wanted, folder, kNames.at(point), ++passages.at(point));
}

}  // namespace millrace::fail_points

#endif
