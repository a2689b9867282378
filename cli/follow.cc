#include "cli/follow.h"

#include <chrono>
#include <cstdio>
#include <functional>
#include <string_view>
#include <utility>

#include "cli/exit_codes.h"
#include "cli/server_events.h"
#include "cli/table.h"
#include "cli/text.h"
#include "formats/timestamp.h"

namespace millrace::cli {
namespace {

constexpr std::size_t kFunctionWidth = 12;
constexpr std::size_t kOutcomeWidth = 13;  // of "dead_lettered"
constexpr std::size_t kTimeFrom = 11;      // in a timestamp: behind the date
constexpr std::size_t kTimeSize = 8;
constexpr std::size_t kDataWidth = 60;

Result<void> follow(Context& context, const std::string& path, ServerEvents::Take take) {
  ServerEvents events(std::move(take));
  HttpClientRequest request = request_for("GET", path);
  request.on_piece = [&events](std::string_view bytes) {
    events.feed(bytes);
    (void)std::fflush(stdout);  // somebody watches; whether it worked is asked at the end
  };
  const auto response = context.client().send(std::move(request));
  if (!response) return fail(response.error());
  if (response->status != 200) return fail(error_of(*response));
  return {};
}

// At most so many bytes, and no character of UTF-8 in part.
std::string cut_to(std::string text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  constexpr unsigned kMask = 0xC0;
  constexpr unsigned kContinues = 0x80;
  while (bytes_max > 0 && (static_cast<unsigned char>(text[bytes_max]) & kMask) == kContinues) --bytes_max;
  return text.substr(0, bytes_max) + "...";
}

void complain_of_missed(const Json& skipped) {
  const Json* count = skipped.find("count");
  const bool known = count != nullptr && !count->is_null();
  Context::complain(
      (known ? counted(skipped.uint_or("count", 0), "event") + " went" : std::string("events may have gone")) +
      " by unseen");
}

std::string padded(std::string text, std::size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

void print_run(Context& context, const Json& run) {
  const std::string outcome = run.string_or("outcome", "");
  const std::string state = outcome.empty() ? run.string_or("state", "") : outcome;
  const bool news = !outcome.empty() || state == "running" || state == "waiting_retry";
  if (!news) return;  // steps that take no time to speak of
  const std::string shown = padded(printable(state), kOutcomeWidth);
  std::string line = format_timestamp(std::chrono::system_clock::now()).substr(11, 8) + "  " +
                     printable(run.string_or("run_id", "")) + "  " +
                     padded(printable(run.string_or("function", "")), kFunctionWidth) + "  " +
                     (context.colours() ? painted(shown, tone_of(state)) : shown);
  if (const Json* usage = run.find("usage"); usage != nullptr && usage->uint_or("wall_us", 0) > 0) {
    line += "  " + human_duration_us(usage->uint_or("wall_us", 0));
  }
  for (const char* part : {"key", "reason"}) {
    const std::string text = printable(text_of(run, part));
    if (!text.empty()) line += "  " + text;
  }
  context.print(line + "\n");
}

// Time, id, type, source, key, size and the beginning of the data.
void print_event(Context& context, const Json& event) {
  const auto shown = [&event](const char* part) {
    const std::string text = printable(text_of(event, part));
    return text.empty() ? std::string("-") : text;
  };
  std::string line = event.string_or("published_at", "").substr(kTimeFrom, kTimeSize);
  for (const char* part : {"id", "type", "source", "key"}) line += "  " + shown(part);
  line += "  " + human_bytes(event.uint_or("bytes", 0));
  if (event.uint_or("bytes", 0) > 0) line += "  " + cut_to(shown("data"), kDataWidth);
  context.print(line + "\n");
}

}  // namespace

Result<int> follow_topic(Context& context, const std::string& topic) {
  bool removed = false;
  const auto followed = follow(context, "/api/v1/topics/" + encode_part(topic) + "/events",
                               [&context, &removed](std::string_view what, const Json& data) {
                                 if (what == "removed") removed = true;
                                 if (what == "skipped") complain_of_missed(data);
                                 if (what != "event") return;
                                 if (context.json()) {
                                   context.print(data.dump() + "\n");
                                 } else {
                                   print_event(context, data);
                                 }
                               });
  if (!followed) return fail(followed.error());
  if (removed) return fail(Errc::not_found, "topic '" + printable(topic) + "' was removed");
  return fail(Errc::unavailable, "the server ended the stream");
}

Result<int> follow_runs(Context& context, const std::string& function) {
  const std::string path = "/api/v1/runs/events" + (function.empty() ? "" : "?function=" + encode_part(function));
  const auto followed = follow(context, path, [&context](std::string_view what, const Json& data) {
    if (what == "skipped") Context::complain(std::to_string(data.uint_or("count", 0)) + " changes were missed");
    if (what != "run") return;
    if (context.json()) {
      context.print(data.dump() + "\n");
    } else {
      print_run(context, data);
    }
  });
  if (!followed) return fail(followed.error());
  return fail(Errc::unavailable, "the server ended the stream");
}

Result<int> follow_log(Context& context, const std::string& run_id) {
  std::string outcome;
  const auto followed = follow(context, "/api/v1/runs/" + encode_part(run_id) + "/log?follow",
                               [&context, &outcome](std::string_view what, const Json& data) {
                                 if (what == "end") outcome = data.string_or("outcome", "");
                                 if (context.json()) {
                                   Json line = data;
                                   context.print(line.set("event", what).dump() + "\n");
                                 } else if (what == "log") {
                                   context.print(text_of(data, "text"));
                                 } else if (what == "skipped") {
                                   Context::complain(std::to_string(data.uint_or("bytes", 0)) + " bytes were missed");
                                 }
                               });
  if (!followed) return fail(followed.error());
  if (outcome.empty()) return fail(Errc::unavailable, "the server ended the stream before the run was over");
  return outcome == "succeeded" ? kOk : kFailed;
}

}  // namespace millrace::cli
