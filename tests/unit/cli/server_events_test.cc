#include "cli/server_events.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace millrace::cli {
namespace {

using Told = std::vector<std::string>;

struct Reader {
  Told told;
  ServerEvents events{
      [this](std::string_view what, const Json& data) { told.push_back(std::string(what) + " " + data.dump()); }};
};

constexpr std::string_view kStream =
    ": hello\n\nevent: run\ndata: {\"a\":1}\n\n: still here\n\nevent:log\r\ndata:[2]\r\n\r\n";

TEST(ServerEvents, AreTakenApart) {
  Reader reader;
  reader.events.feed(kStream);
  EXPECT_EQ(reader.told, (Told{"run {\"a\":1}", "log [2]"}));
}

TEST(ServerEvents, AreTheSameHoweverTheyAreCut) {
  for (std::size_t piece = 1; piece < kStream.size(); ++piece) {
    Reader reader;
    for (std::size_t at = 0; at < kStream.size(); at += piece) reader.events.feed(kStream.substr(at, piece));
    EXPECT_EQ(reader.told, (Told{"run {\"a\":1}", "log [2]"})) << piece;
  }
}

TEST(ServerEvents, WhatIsNoEventIsLeftOut) {
  Reader reader;
  reader.events.feed(
      "data: {}\n\nevent: run\n\nevent: run\ndata: {\n\nevents: run\ndata: {}\n\nevent: ok\ndata: 1\n\n");
  EXPECT_EQ(reader.told, Told{"ok 1"});
}

TEST(ServerEvents, ALineOverItsBoundIsLeftOutAndTheNextIsRead) {
  Reader reader;
  reader.events.feed("event: run\ndata: \"");
  for (int i = 0; i < 20; ++i) reader.events.feed(std::string(100'000, 'x'));
  reader.events.feed("\"\n\nevent: run\ndata: 2\n\n");
  EXPECT_EQ(reader.told, Told{"run 2"});
}

}  // namespace
}  // namespace millrace::cli
