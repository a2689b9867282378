// What the server answered to one statement: rows of values in its binary format.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "state/postgres/library.h"

namespace millrace::postgres {

class Answer {
 public:
  explicit Answer(ResultPtr result) : result_(std::move(result)) {}

  [[nodiscard]] int rows() const { return PQntuples(result_.get()); }
  [[nodiscard]] bool is_null(int row, int column) const { return PQgetisnull(result_.get(), row, column) != 0; }

  [[nodiscard]] std::string_view bytes(int row, int column) const;
  [[nodiscard]] std::string text(int row, int column) const { return std::string(bytes(row, column)); }
  [[nodiscard]] std::int64_t number(int row, int column) const;  // BIGINT or BOOLEAN
  [[nodiscard]] bool flag(int row, int column) const { return number(row, column) != 0; }

  // The elements of a one-dimensional array without nulls, as they are encoded; they live as long as the answer.
  [[nodiscard]] std::vector<std::string_view> elements(int row, int column) const;

 private:
  ResultPtr result_;
};

}  // namespace millrace::postgres
