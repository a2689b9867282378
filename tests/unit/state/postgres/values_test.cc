#include <gmock/gmock.h>

#include <limits>
#include <string>

#include "state/postgres/answer.h"
#include "state/postgres/library.h"
#include "state/postgres/parameters.h"

namespace millrace::postgres {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// An answer of one row that holds what the parameters do: what is sent and what comes back has one form.
Answer answer_of(const Parameters& parameters) {
  const auto pointers = parameters.pointers();
  ResultPtr result(PQmakeEmptyPGresult(nullptr, PGRES_TUPLES_OK));
  std::vector<PGresAttDesc> columns(pointers.values.size());
  std::string name = "column";
  for (auto& column : columns) {
    column.name = name.data();
    column.format = 1;
  }
  EXPECT_NE(PQsetResultAttrs(result.get(), static_cast<int>(columns.size()), columns.data()), 0);
  for (std::size_t i = 0; i < pointers.values.size(); ++i) {
    std::string bytes = pointers.values[i] == nullptr
                            ? std::string()
                            : std::string(pointers.values[i], static_cast<std::size_t>(pointers.lengths[i]));
    const int length = pointers.values[i] == nullptr ? -1 : pointers.lengths[i];
    EXPECT_NE(PQsetvalue(result.get(), 0, static_cast<int>(i), bytes.data(), length), 0);
  }
  return Answer(std::move(result));
}

TEST(PostgresValues, ComeBackAsTheyWere) {
  Parameters parameters;
  const std::string odd("\0\xff'\\x", 5);
  parameters.add(odd);
  parameters.add(std::string());
  parameters.add(std::numeric_limits<std::int64_t>::min());
  parameters.add(std::int64_t{-1});
  parameters.add(true);
  parameters.add(false);
  parameters.add_null();
  const Answer answer = answer_of(parameters);
  ASSERT_EQ(answer.rows(), 1);
  EXPECT_EQ(answer.text(0, 0), odd);
  EXPECT_EQ(answer.text(0, 1), "");
  EXPECT_FALSE(answer.is_null(0, 1));
  EXPECT_EQ(answer.number(0, 2), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(answer.number(0, 3), -1);
  EXPECT_TRUE(answer.flag(0, 4));
  EXPECT_FALSE(answer.flag(0, 5));
  EXPECT_TRUE(answer.is_null(0, 6));
}

TEST(PostgresValues, ArraysKeepTheirElements) {
  Parameters parameters;
  Array texts(Array::Of::bytes);
  texts.add("a");
  texts.add("");
  texts.add(std::string_view("\0\1", 2));
  Array numbers(Array::Of::numbers);
  numbers.add(std::int64_t{7});
  parameters.add(texts);
  parameters.add(numbers);
  parameters.add(Array(Array::Of::bytes));
  const Answer answer = answer_of(parameters);
  EXPECT_THAT(answer.elements(0, 0), ElementsAre("a", "", std::string_view("\0\1", 2)));
  const auto found = answer.elements(0, 1);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(take_number(found[0]), 7U);
  EXPECT_THAT(answer.elements(0, 2), IsEmpty());
}

TEST(PostgresValues, AnArrayThatIsCutOffGivesWhatIsThere) {
  Array texts(Array::Of::bytes);
  texts.add("first");
  texts.add("second");
  const std::string whole = texts.encoded();
  for (std::size_t length = 0; length < whole.size(); ++length) {
    Parameters parameters;
    parameters.add(std::string_view(whole).substr(0, length));
    EXPECT_LT(answer_of(parameters).elements(0, 0).size(), 2U) << length;
  }
}

TEST(PostgresErrors, SayHowToReact) {
  EXPECT_EQ(errc_of("53100"), Errc::no_space);
  EXPECT_EQ(errc_of("53300"), Errc::unavailable) << "too many connections";
  EXPECT_EQ(errc_of("XX001"), Errc::data_loss);
  EXPECT_EQ(errc_of("XX002"), Errc::data_loss);
  EXPECT_EQ(errc_of("XX000"), Errc::internal);
  EXPECT_EQ(errc_of("42501"), Errc::permission_denied);
  EXPECT_EQ(errc_of("28P01"), Errc::permission_denied);
  EXPECT_EQ(errc_of("3D000"), Errc::not_found);
  EXPECT_EQ(errc_of("42P01"), Errc::failed_precondition);
  EXPECT_EQ(errc_of("54000"), Errc::too_large);
  EXPECT_EQ(errc_of("22P02"), Errc::internal);
  for (const char* away : {"", "08006", "57P01", "57P03", "57014", "40P01", "55P03", "25006", "58030"}) {
    EXPECT_EQ(errc_of(away), Errc::unavailable) << away;
  }
}

TEST(PostgresErrors, OnlyLostRacesAreWorthTheVerySameStatementAgain) {
  EXPECT_TRUE(is_conflict("40P01"));
  EXPECT_TRUE(is_conflict("40001"));
  EXPECT_FALSE(is_conflict("53100"));
  EXPECT_FALSE(is_conflict(""));
}

}  // namespace
}  // namespace millrace::postgres
