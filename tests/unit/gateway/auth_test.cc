#include "gateway/auth.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <string>

#include "tests/support/temp_dir.h"

namespace millrace {
namespace {

constexpr std::string_view kToken = "0123456789abcdef";

bool accepted(std::string_view header) {
  const auto known = check_authorization(header, kToken);
  if (!known) EXPECT_EQ(known.error().code, Errc::unauthenticated);
  return known.has_value();
}

TEST(Authorization, TheTokenAsBearerIsAccepted) {
  EXPECT_TRUE(accepted("Bearer 0123456789abcdef"));
}

TEST(Authorization, TheSchemeIsCaseInsensitiveAndTheTokenIsNot) {
  EXPECT_TRUE(accepted("bearer 0123456789abcdef"));
  EXPECT_TRUE(accepted("BEARER 0123456789abcdef"));
  EXPECT_TRUE(accepted("bAsIc b3NjYXI6MDEyMzQ1Njc4OWFiY2RlZg=="));
  EXPECT_FALSE(accepted("Bearer 0123456789ABCDEF"));
}

TEST(Authorization, BasicIsAcceptedForUserOscar) {
  EXPECT_TRUE(accepted("Basic b3NjYXI6MDEyMzQ1Njc4OWFiY2RlZg=="));  // oscar:0123456789abcdef
  EXPECT_TRUE(accepted("Basic b3NjYXI6MDEyMzQ1Njc4OWFiY2RlZg")) << "without its padding";
}

TEST(Authorization, BasicWithAnotherUserOrPasswordIsRefused) {
  EXPECT_FALSE(accepted("Basic cm9vdDowMTIzNDU2Nzg5YWJjZGVm"));      // root:0123456789abcdef
  EXPECT_FALSE(accepted("Basic b3NjYXI6eHh4eHh4eHh4eHh4eHh4eA=="));  // oscar:xxxxxxxxxxxxxxxx
  EXPECT_FALSE(accepted("Basic b3NjYXI6"));                          // oscar:
  EXPECT_FALSE(accepted("Basic OjAxMjM0NTY3ODlhYmNkZWY="));          // :0123456789abcdef
  EXPECT_FALSE(accepted("Basic MDEyMzQ1Njc4OWFiY2RlZg=="));          // the token alone
}

TEST(Authorization, BasicThatIsNoBase64IsRefused) {
  EXPECT_FALSE(accepted("Basic !"));
  EXPECT_FALSE(accepted("Basic b3Nj YXI6"));
  EXPECT_FALSE(accepted("Basic ===="));
  EXPECT_FALSE(accepted(std::string("Basic b3Nj\0YXI6", 15)));
  EXPECT_FALSE(accepted("Basic \xff\xfe"));
  EXPECT_FALSE(accepted("Basic " + std::string(1 << 20, 'A')));
}

TEST(Authorization, EveryWrongByteOfTheTokenCounts) {
  for (std::size_t i = 0; i < kToken.size(); ++i) {
    std::string wrong(kToken);
    wrong[i] = '_';
    EXPECT_FALSE(accepted("Bearer " + wrong)) << i;
  }
}

// A comparison that walks the longer over the shorter must not take a repetition for the token.
TEST(Authorization, ATokenOfAnotherLengthIsRefused) {
  const std::string token(kToken);
  EXPECT_FALSE(accepted("Bearer "));
  EXPECT_FALSE(accepted("Bearer 0"));
  EXPECT_FALSE(accepted("Bearer " + token.substr(0, 15)));
  EXPECT_FALSE(accepted("Bearer " + token + "0"));
  EXPECT_FALSE(accepted("Bearer " + token + token));
  EXPECT_FALSE(accepted("Bearer " + token + std::string(1, '\0')));
  EXPECT_FALSE(accepted("Bearer " + token + " "));
  EXPECT_FALSE(accepted("Bearer " + std::string(1 << 20, '0')));
}

TEST(Authorization, AnEmptyTokenLetsNobodyIn) {
  for (const char* header : {"", "Bearer ", "Bearer", "Basic b3NjYXI6", "Basic "}) {  // oscar:
    EXPECT_FALSE(check_authorization(header, "")) << header;
  }
}

TEST(Authorization, OtherSchemesAndShapesAreRefused) {
  for (const char* header : {"", " ", "Bearer", "Basic", "0123456789abcdef", "Bearer0123456789abcdef",
                             "Bearer\t0123456789abcdef", "Digest 0123456789abcdef", " Bearer 0123456789abcdef",
                             "Token 0123456789abcdef", "Bearers 0123456789abcdef", "Beare 0123456789abcdef"}) {
    EXPECT_FALSE(accepted(header)) << header;
  }
}

TEST(Authorization, TheAnswerTellsHowToGetInAndNeverTheToken) {
  const auto missing = check_authorization("", kToken);
  const auto wrong = check_authorization("Bearer nonsense-nonsense", kToken);
  ASSERT_FALSE(missing);
  ASSERT_FALSE(wrong);
  EXPECT_NE(missing.error().message.find("Authorization: Bearer"), std::string::npos);
  EXPECT_NE(wrong.error().message.find("admin-token"), std::string::npos);
  for (const auto& answer : {missing, wrong}) {
    EXPECT_EQ(answer.error().message.find(kToken), std::string::npos);
    EXPECT_EQ(answer.error().message.find("nonsense"), std::string::npos) << "nor what was tried";
  }
}

class TokenFile : public testing::Test {
 protected:
  void write(const std::string& content) { std::ofstream(path_) << content; }
  std::string read() {
    std::ifstream file(path_);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  test::TempDir directory_;
  std::string path_ = directory_ / "admin-token";
};

TEST_F(TokenFile, IsMadeAtTheFirstStartForTheOwnerOnly) {
  const auto token = load_or_make_token(path_);
  ASSERT_TRUE(token) << token.error().message;
  EXPECT_EQ(token->size(), 64U);
  EXPECT_EQ(token->find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_EQ(read(), *token + "\n");
  struct stat status{};
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
}

TEST_F(TokenFile, IsReadAgainAtTheNext) {
  const auto first = load_or_make_token(path_);
  const auto second = load_or_make_token(path_);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(*first, *second);
}

TEST_F(TokenFile, TwoDaemonsHaveDifferentTokens) {
  EXPECT_NE(*load_or_make_token(path_), *load_or_make_token(directory_ / "other"));
}

TEST_F(TokenFile, MayBeWrittenByHandWithLineBreaksAndBlanksAtItsEnd) {
  write("my-own-secret-16\n");
  EXPECT_EQ(*load_or_make_token(path_), "my-own-secret-16");
  write("my-own-secret-16  \n\n");
  EXPECT_EQ(*load_or_make_token(path_), "my-own-secret-16");
  write("my-own-secret-16");
  EXPECT_EQ(*load_or_make_token(path_), "my-own-secret-16");
}

TEST_F(TokenFile, WithoutATokenOfSomeLengthItIsRefusedAndLeftAlone) {
  for (const char* content : {"", "\n", "123456789012345", "123456789012345 \n"}) {
    write(content);
    const auto token = load_or_make_token(path_);
    ASSERT_FALSE(token) << content;
    EXPECT_EQ(token.error().code, Errc::failed_precondition);
    EXPECT_NE(token.error().message.find(path_), std::string::npos);
    EXPECT_EQ(read(), content);
  }
}

TEST_F(TokenFile, OfMoreThanItsBoundIsRefusedAndNotCut) {
  write(std::string(512, 'a'));
  EXPECT_EQ(*load_or_make_token(path_), std::string(512, 'a'));
  for (const std::string& content : {std::string(513, 'a'), std::string(512, 'a') + "\n", std::string(100'000, 'a')}) {
    write(content);
    const auto token = load_or_make_token(path_);
    ASSERT_FALSE(token) << content.size();
    EXPECT_EQ(token.error().code, Errc::failed_precondition);
    EXPECT_NE(token.error().message.find(path_ + " is longer than 512 bytes"), std::string::npos);
    EXPECT_EQ(read(), content);
  }
}

TEST_F(TokenFile, BehindALinkItIsRefused) {
  write("somebody-elses-secret");
  const std::string link = directory_ / "link";
  ASSERT_EQ(::symlink(path_.c_str(), link.c_str()), 0);
  EXPECT_FALSE(load_or_make_token(link));
}

TEST_F(TokenFile, InADirectoryThatIsNotThereItIsAnErrorNamingIt) {
  const auto token = load_or_make_token(directory_ / "gone/admin-token");
  ASSERT_FALSE(token);
  EXPECT_NE(token.error().message.find("gone/admin-token"), std::string::npos) << token.error().message;
}

TEST_F(TokenFile, AHalfTokenOfACrashIsReplaced) {
  std::ofstream(path_ + ".new") << "half";
  const auto token = load_or_make_token(path_);
  ASSERT_TRUE(token) << token.error().message;
  EXPECT_EQ(read(), *token + "\n");
  EXPECT_NE(::access((path_ + ".new").c_str(), F_OK), 0);
}

}  // namespace
}  // namespace millrace
