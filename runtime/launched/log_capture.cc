#include "runtime/launched/log_capture.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/run.h"

namespace millrace::launched {
namespace {

std::string gap(std::uint64_t bytes, std::string_view of) {
  return "[... " + std::to_string(bytes) + " bytes" + std::string(of) + " dropped ...]\n";
}

std::string line_gap(std::uint64_t bytes, LogStream stream) {
  return " [... " + std::to_string(bytes) + " bytes of " + (stream == LogStream::out ? "stdout" : "stderr") +
         " dropped from this line ...]";
}

}  // namespace

LogCapture::LogCapture(std::uint64_t stream_bytes_max, std::uint64_t line_bytes_max) : line_max_(line_bytes_max) {
  const auto kept = static_cast<std::size_t>(std::min<std::uint64_t>(stream_bytes_max, kLogTailBytesMax));
  head_max_ = kept / 2;
  tail_max_ = kept - head_max_;
}

void LogCapture::append(LogStream stream, std::string_view bytes) {
  if (bytes.empty()) return;
  Kept& kept = streams_[static_cast<std::size_t>(stream)];
  kept.total += bytes.size();
  if (line_max_ == 0) return keep(kept, bytes);
  append_lines(stream, kept, bytes);
}

void LogCapture::append_lines(LogStream stream, Kept& kept, std::string_view bytes) {
  // Whole stretches are kept at once: most lines are short.
  std::size_t begin = 0;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t newline = std::min(bytes.find('\n', at), bytes.size());
    const std::size_t room = line_max_ - kept.line;
    if (const std::size_t more = newline - at; more > room) {
      keep(kept, bytes.substr(begin, at + room - begin));
      kept.line = line_max_;
      kept.line_left += more - room;
      begin = newline;
    } else {
      kept.line += more;
    }
    if (newline == bytes.size()) break;
    if (kept.line_left > 0) keep(kept, line_gap(std::exchange(kept.line_left, 0), stream));
    kept.line = 0;
    at = newline + 1;
  }
  keep(kept, bytes.substr(begin));
}

void LogCapture::keep(Kept& kept, std::string_view bytes) {
  if (bytes.empty()) return;
  const std::size_t first = std::min(bytes.size(), head_max_ - kept.head_bytes);
  if (first > 0) {
    add(kept.head, bytes.substr(0, first));
    kept.head_bytes += first;
    bytes.remove_prefix(first);
  }
  if (bytes.empty()) return;
  if (bytes.size() > tail_max_) {
    const std::size_t surplus = bytes.size() - tail_max_;
    kept.dropped += surplus;
    bytes.remove_prefix(surplus);
  }
  add(kept.tail, bytes);
  kept.tail_bytes += bytes.size();
  trim(kept, tail_max_);
}

void LogCapture::add(std::deque<Piece>& pieces, std::string_view bytes) {
  const bool goes_on = last_ == &pieces || pieces.size() >= kPiecesMax;
  last_ = &pieces;
  if (goes_on && !pieces.empty()) {
    pieces.back().bytes += bytes;
  } else {
    pieces.push_back({.order = order_++, .bytes = std::string(bytes)});
  }
}

void LogCapture::trim(Kept& kept, std::size_t bytes_max) {
  while (kept.tail_bytes > bytes_max) {
    Piece& oldest = kept.tail.front();
    const std::size_t surplus = std::min(kept.tail_bytes - bytes_max, oldest.bytes.size());
    oldest.bytes.erase(0, surplus);
    if (oldest.bytes.empty()) kept.tail.pop_front();
    kept.tail_bytes -= surplus;
    kept.dropped += surplus;
  }
}

std::string LogCapture::tail(std::size_t bytes_max) const {
  struct Shown {
    std::uint64_t order;
    const std::string* bytes;
    std::string before;
  };
  std::vector<Shown> shown;
  std::string unfinished;
  for (std::size_t stream = 0; stream < streams_.size(); ++stream) {
    const Kept& kept = streams_[stream];
    for (const Piece& piece : kept.head) shown.push_back({piece.order, &piece.bytes, {}});
    std::string missing;
    if (kept.dropped > 0) missing = "\n" + gap(kept.dropped, stream == 0 ? " of stdout" : " of stderr");
    for (const Piece& piece : kept.tail) shown.push_back({piece.order, &piece.bytes, std::exchange(missing, {})});
    if (kept.line_left > 0)
      unfinished += line_gap(kept.line_left, stream == 0 ? LogStream::out : LogStream::err) + "\n";
  }
  std::ranges::sort(shown, {}, &Shown::order);
  std::string text;
  for (const Shown& piece : shown) text += piece.before + *piece.bytes;
  text += unfinished;
  if (text.size() <= bytes_max) return text;
  std::string note = gap(text.size() - bytes_max, "");
  if (note.size() >= bytes_max) return text.substr(text.size() - bytes_max);
  note = gap(text.size() - bytes_max + note.size(), "");
  const std::size_t room = bytes_max - std::min(bytes_max, note.size());
  return note + text.substr(text.size() - room);
}

}  // namespace millrace::launched
