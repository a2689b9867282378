#include "app/life_line.h"

#include <utility>

#include "app/life_line_messages.h"

namespace millrace {

using launched::LauncherClient;

LifeLine::LifeLine(EventLoop& loop, Log& log, Fd socket, LauncherClient& client, OnGone on_gone)
    : log_(log), socket_(loop, std::move(socket)), client_(client), on_gone_(std::move(on_gone)), tasks_(loop) {
  client_.set_on_trouble([this](LauncherClient::Trouble trouble) { report(trouble); });
  tasks_.spawn(receive());
}

LifeLine::~LifeLine() {
  client_.set_on_trouble(nullptr);
}

Task<void> LifeLine::receive() {
  for (;;) {
    auto got = co_await socket_.recv({.bytes_max = kLifeLineBytesMax, .fds_max = 1}, tasks_.stop_token());
    if (!got || !*got) break;
    const auto message = decode_life_line((*got)->bytes);
    if (!message || message->kind != LifeLineMessage::kLauncherSocket || (*got)->fds.size() != 1) {
      log_.error("the supervisor said something that this daemon does not understand");
      break;
    }
    number_ = message->number;
    client_.connect(std::move((*got)->fds.front()));
  }
  if (on_gone_) std::exchange(on_gone_, nullptr)();
}

void LifeLine::report(LauncherClient::Trouble trouble) {
  const char kind =
      trouble == LauncherClient::Trouble::stuck ? LifeLineMessage::kLauncherStuck : LifeLineMessage::kSocketLost;
  tasks_.spawn(send(encode(LifeLineMessage{.kind = kind, .number = number_})));
}

Task<void> LifeLine::send(std::string bytes) {
  // A failure means that the supervisor is gone, which receive() sees as well.
  [[maybe_unused]] const auto sent = co_await socket_.send(std::move(bytes), {}, tasks_.stop_token());
}

}  // namespace millrace
