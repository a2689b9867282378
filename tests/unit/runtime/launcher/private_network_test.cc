#include "runtime/launcher/private_network.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>

namespace millrace::launcher {
namespace {

Ipv4Range range(const char* text) {
  const auto parsed = parse_ipv4_range(text);
  EXPECT_TRUE(parsed) << text;
  return parsed.value_or(Ipv4Range{});
}

bool refuses(const LauncherOptions& options, const char* text) {
  return std::ranges::any_of(refused_ranges(options),
                             [&](const Ipv4Range& refused) { return refused.contains(range(text)); });
}

TEST(Ipv4Ranges, AreReadAsTheyAreWritten) {
  EXPECT_EQ(range("10.0.0.1"), (Ipv4Range{.address = 0x0a00'0001, .bits = 32}));
  EXPECT_EQ(range("10.0.0.0/8"), (Ipv4Range{.address = 0x0a00'0000, .bits = 8}));
  EXPECT_EQ(range("0.0.0.0/0"), (Ipv4Range{.address = 0, .bits = 0}));
  EXPECT_EQ(range("255.255.255.255/32"), (Ipv4Range{.address = 0xffff'ffff, .bits = 32}));
  EXPECT_EQ(format_ipv4(0xa9fe'a9fe), "169.254.169.254");
}

TEST(Ipv4Ranges, RefuseWhatIsNone) {
  for (const char* text : {"", "10", "10.0.0", "10.0.0.0.0", "10.0.0.256", "10.0.0.0/33", "10.0.0.0/", "10.0.0.1/8",
                           "10.0.0.01", "10.0.0.0/08", " 10.0.0.0", "10.0.0.0 ", "10.0.0.-1", "::1", "a.b.c.d",
                           "10..0.0", "0.0.0.1/0", "10.0.0.0/8/8"}) {
    EXPECT_FALSE(parse_ipv4_range(text)) << text;
  }
}

TEST(Ipv4Ranges, ContainWhatBeginsLikeThem) {
  EXPECT_TRUE(range("10.0.0.0/8").contains(range("10.255.255.255")));
  EXPECT_FALSE(range("10.0.0.0/8").contains(range("11.0.0.0")));
  EXPECT_TRUE(range("0.0.0.0/0").contains(range("255.0.0.0/8")));
  EXPECT_FALSE(range("10.0.0.0/16").contains(range("10.0.0.0/8")));
  EXPECT_TRUE(range("10.1.2.3").contains(range("10.1.2.3")));
}

TEST(RefusedRanges, HoldMetadataLinkLocalAndOurOwn) {
  const LauncherOptions options;
  for (const char* text : {"169.254.169.254", "169.254.0.1", "127.0.0.1", "0.0.0.0", "198.18.0.2", "198.18.128.1",
                           "224.0.0.1", "255.255.255.255"}) {
    EXPECT_TRUE(refuses(options, text)) << text;
  }
  for (const char* text : {"10.0.0.1", "192.168.1.1", "8.8.8.8", "203.0.113.9"}) {
    EXPECT_FALSE(refuses(options, text)) << text;
  }
}

TEST(RefusedRanges, AreAsTheOptionsSay) {
  LauncherOptions options;
  options.network_deny = {range("10.0.0.0/8"), range("10.0.0.0/8"), range("192.168.0.0/16")};
  options.network_allow = {range("169.254.0.0/16"), range("192.0.0.0/8"), range("198.18.0.0/15")};
  EXPECT_TRUE(refuses(options, "10.1.1.1"));
  EXPECT_FALSE(refuses(options, "169.254.169.254"));
  EXPECT_FALSE(refuses(options, "192.168.1.1"));
  // Sandboxes are never shown to one another.
  EXPECT_TRUE(refuses(options, "198.18.128.1"));
  // The kernel refuses the same route twice.
  const auto refused = refused_ranges(options);
  EXPECT_EQ(std::ranges::count(refused, range("10.0.0.0/8")), 1);
}

TEST(PrivateResolvConf, NamesOurResolverAndKeepsTheHostsSearchList) {
  EXPECT_EQ(private_resolv_conf(""), "nameserver 198.18.0.3\n");
  EXPECT_EQ(private_resolv_conf("# made by hand\nnameserver 127.0.0.53\nsearch a.example b.example\noptions edns0\n"
                                "nameserver 10.0.0.1\ndomain example"),
            "nameserver 198.18.0.3\nsearch a.example b.example\noptions edns0\ndomain example\n");
}

TEST(LauncherOptionsOfNetworks, AreChecked) {
  const std::array<const char*, 5> good{"--prefix=p", "--daemon-uid=1", "--daemon-gid=1", "--network-allow=10.0.0.5",
                                        "--network-deny=10.0.0.0/8"};
  const auto options = parse_launcher_options(good);
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->network_allow.size(), 1U);
  EXPECT_EQ(options->network_deny.front(), range("10.0.0.0/8"));
  const std::array<const char*, 4> bad{"--prefix=p", "--daemon-uid=1", "--daemon-gid=1", "--network-deny=10.0.0.5/8"};
  EXPECT_FALSE(parse_launcher_options(bad));
}

}  // namespace
}  // namespace millrace::launcher
