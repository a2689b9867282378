#include "broker/message_digest.h"

#include <gtest/gtest.h>

#include <string>

#include "broker/crc32c.h"

namespace millrace {
namespace {

std::string counting(std::size_t size) {
  std::string bytes;
  for (std::size_t i = 0; i < size; ++i) bytes += static_cast<char>(i);
  return bytes;
}

TEST(Crc32c, MatchesTheVectorsOfTheStandard) {
  // RFC 3720, appendix B.4.
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aaU);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43U);
  EXPECT_EQ(crc32c(counting(32)), 0x46dd794eU);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283U);
  EXPECT_EQ(crc32c(""), 0U);
}

TEST(Crc32c, TablesAndInstructionAgreeAtEveryLengthAndOffset) {
  const std::string bytes = counting(300);
  for (std::size_t from = 0; from < 9; ++from) {
    for (std::size_t size = 0; from + size <= bytes.size(); ++size) {
      const auto piece = std::string_view(bytes).substr(from, size);
      ASSERT_EQ(crc32c(piece, 77), crc32c_portable(piece, 77)) << from << "+" << size;
    }
  }
}

TEST(Crc32c, ContinuesFromAPart) {
  const std::string bytes = counting(100);
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    ASSERT_EQ(crc32c(bytes.substr(cut), crc32c(bytes.substr(0, cut))), crc32c(bytes));
  }
}

std::string hex(const std::array<std::uint64_t, 2>& hash) {
  std::string text;
  for (const auto word : hash) {
    for (int i = 0; i < 8; ++i) {
      const auto byte = static_cast<unsigned>(word >> (8 * i)) & 0xff;
      text += "0123456789ABCDEF"[byte >> 4];
      text += "0123456789ABCDEF"[byte & 15];
    }
  }
  return text;
}

TEST(SipHash, MatchesVectorsMadeElsewhere) {
  // Made with: openssl mac -macopt hexkey:000102...0f -macopt size:16 SIPHASH
  const IdKey key{0x0706050403020100, 0x0f0e0d0c0b0a0908};
  EXPECT_EQ(hex(sip_hash(counting(0), key)), "A3817F04BA25A8E66DF67214C7550293");
  EXPECT_EQ(hex(sip_hash(counting(1), key)), "DA87C1D86B99AF44347659119B22FC45");
  EXPECT_EQ(hex(sip_hash(counting(7), key)), "A1F1EBBED8DBC153C0B84AA61FF08239");
  EXPECT_EQ(hex(sip_hash(counting(8), key)), "3B62A9BA6258F5610F83E264F31497B4");
  EXPECT_EQ(hex(sip_hash(counting(15), key)), "5493E99933B0A8117E08EC0F97CFC3D9");
  EXPECT_EQ(hex(sip_hash(counting(16), key)), "6EE2A4CA67B054BBFD3315BF85230577");
  EXPECT_EQ(hex(sip_hash(counting(33), key)), "77C6077146F01C32B6B69D5F4EA9FFCF");
}

TEST(DigestContent, SeesWhatThePublisherSaysAndNothingElse) {
  Event event;
  event.source = "s";
  event.source_id = "1";
  event.type = "t";
  event.data = "data";
  event.object = ObjectRef{.bucket = "b", .key = "k", .version = {.size_bytes = 5}, .private_path = {}};
  const auto plain = digest_content(event);

  Event stamped = event;
  stamped.time += std::chrono::hours(1);
  stamped.order = Order("x");
  stamped.hops = 3;
  stamped.cause = RunId("y");
  stamped.extensions.emplace_back("traceparent", "z");
  stamped.object->private_path = "p";
  EXPECT_EQ(digest_content(stamped), plain);

  const auto differs = [&](auto change) {
    Event other = event;
    change(other);
    return digest_content(other) != plain;
  };
  EXPECT_TRUE(differs([](Event& e) { e.source = "other"; }));
  EXPECT_TRUE(differs([](Event& e) { e.source_id = "2"; }));
  EXPECT_TRUE(differs([](Event& e) { e.type = "u"; }));
  EXPECT_TRUE(differs([](Event& e) { e.subject = "v"; }));
  EXPECT_TRUE(differs([](Event& e) { e.content_type = "w"; }));
  EXPECT_TRUE(differs([](Event& e) { e.data = "date"; }));
  EXPECT_TRUE(differs([](Event& e) { e.object->key = "l"; }));
  EXPECT_TRUE(differs([](Event& e) { e.object->version.size_bytes = 6; }));
  EXPECT_TRUE(differs([](Event& e) {
    e.source = "s1";  // the same letters, divided otherwise
    e.source_id = "";
  }));
}

}  // namespace
}  // namespace millrace
