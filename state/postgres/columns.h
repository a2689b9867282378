// Records as rows: parameters of a statement, and back from its answer.
//
//   "INSERT INTO attempts (" + names<Attempt>() + ") VALUES (" + placeholders<Attempt>(1) + ")"
//   bind(parameters, attempt);
//   auto attempt = read<Attempt>(answer, row, first_column);
//
// All texts are BYTEA, for they may hold any bytes; numbers are BIGINT, times nanoseconds since 1970, outcomes names.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/run.h"
#include "state/columns.h"
#include "state/postgres/answer.h"
#include "state/postgres/parameters.h"

namespace millrace::postgres {

template <class Value>
inline constexpr bool kIsName = std::same_as<Value, RunOutcome> || std::same_as<Value, std::optional<AttemptOutcome>>;
template <class Value>
inline constexpr bool kIsNumber = std::integral<Value> || std::same_as<Value, WallTime>;

template <class Value>
[[nodiscard]] constexpr const char* type_of() {
  if constexpr (std::same_as<Value, bool>) {
    return "boolean";
  } else if constexpr (kIsNumber<Value>) {
    return "bigint";
  } else {
    return kIsName<Value> ? "text" : "bytea";
  }
}

inline std::int64_t to_column(WallTime time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

inline WallTime time_from_column(std::int64_t nanoseconds) {
  return WallTime(std::chrono::duration_cast<WallTime::duration>(std::chrono::nanoseconds(nanoseconds)));
}

// "$7"
[[nodiscard]] inline std::string placeholder(int number) {
  return "$" + std::to_string(number);
}

struct NameLister {
  const char* before;  // of each name
  std::string names = {};
  template <class Value>
  void operator()(const char* name, const Value&) {
    names.append(names.empty() ? "" : ", ").append(before).append(name);
  }
};

// "a, b, c", each with `before` in front of it.
template <class Record>
[[nodiscard]] std::string names(const char* before = "") {
  NameLister lister{before};
  const Record record{};
  state::visit(lister, record);
  return lister.names;
}

struct PlaceholderLister {
  int number;  // of the next one
  std::string list = {};
  template <class Value>
  void operator()(const char*, const Value&) {
    list.append(list.empty() ? "" : ", ").append(placeholder(number++)).append("::").append(type_of<Value>());
  }
};

// "$1::bytea, $2::bigint", from `first` on: their types cannot always be told from where they stand.
template <class Record>
[[nodiscard]] std::string placeholders(int first) {
  PlaceholderLister lister{first};
  const Record record{};
  state::visit(lister, record);
  return lister.list;
}

template <class Record>
[[nodiscard]] int column_count() {
  PlaceholderLister lister{0};
  const Record record{};
  state::visit(lister, record);
  return lister.number;
}

struct Binder {
  Parameters& parameters;
  template <class Value>
  void operator()(const char*, const Value& value) {
    if constexpr (std::same_as<Value, bool>) {
      parameters.add(value);
    } else if constexpr (std::integral<Value>) {
      parameters.add(static_cast<std::int64_t>(value));
    } else if constexpr (std::same_as<Value, std::string>) {
      parameters.add(std::string_view(value));
    } else if constexpr (std::same_as<Value, WallTime>) {
      parameters.add(to_column(value));
    } else if constexpr (std::same_as<Value, RunOutcome>) {
      parameters.add(name_of(value));
    } else if constexpr (std::same_as<Value, std::optional<AttemptOutcome>>) {
      value ? parameters.add(name_of(*value)) : parameters.add_null();
    } else {
      parameters.add(std::string_view(value.str()));
    }
  }
};

template <class Record>
void bind(Parameters& parameters, const Record& record) {
  Binder binder{parameters};
  state::visit(binder, record);
}

// Reads each column of a row. A name that this build does not know makes the row unreadable.
struct Reader {
  const Answer& answer;
  int row;
  int column;
  bool understood = true;
  template <class Value>
  void operator()(const char*, Value& value) {
    const int at = column++;
    if constexpr (std::integral<Value>) {
      value = static_cast<Value>(answer.number(row, at));
    } else if constexpr (std::same_as<Value, std::string>) {
      value = answer.text(row, at);
    } else if constexpr (std::same_as<Value, WallTime>) {
      value = time_from_column(answer.number(row, at));
    } else if constexpr (std::same_as<Value, RunOutcome>) {
      const auto outcome = run_outcome_from_name(answer.bytes(row, at));
      understood = understood && outcome;
      value = outcome.value_or(RunOutcome::failed);
    } else if constexpr (std::same_as<Value, std::optional<AttemptOutcome>>) {
      if (answer.is_null(row, at)) return;
      value = attempt_outcome_from_name(answer.bytes(row, at));
      understood = understood && value;
    } else {
      value = Value(answer.text(row, at));
    }
  }
};

// `data_loss` for a value that is none of ours.
template <class Record>
[[nodiscard]] Result<Record> read(const Answer& answer, int row, int first_column) {
  Record record{};
  Reader reader{.answer = answer, .row = row, .column = first_column};
  state::visit(reader, record);
  if (!reader.understood) {
    return fail(Errc::data_loss, "state store: a row holds an outcome that this build does not know");
  }
  return record;
}

}  // namespace millrace::postgres
