// Records as rows: which column holds which member, said once for writing, reading and the SQL lists.
//
//   const std::string insert = insert_into<RunRecord>("runs");         // INSERT INTO runs (run_id, ...) VALUES (?,
//   ...) bind_columns(query, record); auto record = read_columns<RunRecord>(query, first_column);
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>

#include "core/run.h"
#include "state/columns.h"
#include "state/sqlite/database.h"

namespace millrace::sqlite {

using state::visit;

// Collects the names, each behind a comma: ", a, b"; and as many parameters: ", ?, ?".
struct ColumnNames {
  std::string names;
  std::string parameters;
  template <class Value>
  void operator()(const char* name, const Value&) {
    names.append(", ").append(name);
    parameters.append(", ?");
  }
};

template <class Record>
[[nodiscard]] ColumnNames columns_of() {
  ColumnNames columns;
  const Record record{};
  visit(columns, record);
  return columns;
}

inline std::int64_t to_column(WallTime time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

inline WallTime time_from_column(std::int64_t nanoseconds) {
  return WallTime(std::chrono::duration_cast<WallTime::duration>(std::chrono::nanoseconds(nanoseconds)));
}

// Binds each column to the next parameter. Texts are not copied: the record outlives the query.
struct ColumnBinder {
  Query& query;
  template <class Value>
  void operator()(const char*, const Value& value) {
    if constexpr (std::integral<Value>) {
      query.bind(static_cast<std::int64_t>(value));
    } else if constexpr (std::same_as<Value, std::string>) {
      query.bind(std::string_view(value));
    } else if constexpr (std::same_as<Value, WallTime>) {
      query.bind(to_column(value));
    } else if constexpr (std::same_as<Value, RunOutcome>) {
      query.bind(name_of(value));
    } else if constexpr (std::same_as<Value, std::optional<AttemptOutcome>>) {
      value ? query.bind(name_of(*value)) : query.bind_null();
    } else {
      query.bind(std::string_view(value.str()));
    }
  }
};

// Reads each column from the current row. A name that this build does not know makes the row unreadable.
struct ColumnReader {
  Query& query;
  int column = 0;
  bool understood = true;
  template <class Value>
  void operator()(const char*, Value& value) {
    const int at = column++;
    if constexpr (std::integral<Value>) {
      value = static_cast<Value>(query.integer(at));
    } else if constexpr (std::same_as<Value, std::string>) {
      value = query.text(at);
    } else if constexpr (std::same_as<Value, WallTime>) {
      value = time_from_column(query.integer(at));
    } else if constexpr (std::same_as<Value, RunOutcome>) {
      const auto outcome = run_outcome_from_name(query.text(at));
      understood = understood && outcome;
      value = outcome.value_or(RunOutcome::failed);
    } else if constexpr (std::same_as<Value, std::optional<AttemptOutcome>>) {
      if (query.is_null(at)) return;
      value = attempt_outcome_from_name(query.text(at));
      understood = understood && value;
    } else {
      value = Value(query.text(at));
    }
  }
};

// `data_loss` for a value that is none of ours.
template <class Record>
[[nodiscard]] Result<Record> read_columns(Query& query, const Database& database, int first_column) {
  Record record{};
  ColumnReader reader{.query = query, .column = first_column};
  visit(reader, record);
  if (!reader.understood) {
    return fail(Errc::data_loss,
                "state store " + database.path() + ": a row holds an outcome that this build does not know");
  }
  return record;
}

}  // namespace millrace::sqlite
