#include "state/postgres/answer.h"

#include "state/postgres/parameters.h"

namespace millrace::postgres {

std::string_view Answer::bytes(int row, int column) const {
  return {PQgetvalue(result_.get(), row, column), static_cast<std::size_t>(PQgetlength(result_.get(), row, column))};
}

std::int64_t Answer::number(int row, int column) const {
  return static_cast<std::int64_t>(take_number(bytes(row, column)));
}

std::vector<std::string_view> Answer::elements(int row, int column) const {
  constexpr std::size_t kHeaderBytes = 20;  // dimensions, nulls, type, count, first index
  std::string_view array = bytes(row, column);
  std::vector<std::string_view> found;
  if (array.size() < kHeaderBytes) return found;
  const auto count = take_number(array.substr(12, 4));
  array.remove_prefix(kHeaderBytes);
  while (found.size() < count && array.size() >= 4) {
    const auto length = take_number(array.substr(0, 4));
    array.remove_prefix(4);
    if (length > array.size()) break;
    found.push_back(array.substr(0, length));
    array.remove_prefix(length);
  }
  return found;
}

}  // namespace millrace::postgres
