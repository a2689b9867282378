// One connection to the database with its prepared statements, and the translation of its errors.
//
//   Query query = database.query("SELECT name FROM functions WHERE revision > ?");
//   query.bind(revision);
//   for (;;) {
//     auto row = query.next();
//     if (!row) return fail(row.error());
//     if (!*row) break;
//     names.push_back(query.text(0));
//   }
//
// Thread: any, but one at a time.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "core/error.h"

namespace millrace::sqlite {

class Database;

// One use of a statement: bind its parameters from left to right, then step. The statement is free again afterwards.
class Query {
 public:
  Query(Database& database, sqlite3_stmt* statement, int status);
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;
  ~Query();

  void bind(std::int64_t value);
  void bind(std::string_view value);  // as text, whatever bytes; must live until the query is done
  void bind_blob(std::string_view value);
  void bind_null();

  [[nodiscard]] Result<bool> next();  // true: there is a row
  [[nodiscard]] Result<void> run();   // to its end, for statements without rows

  // Of the current row.
  [[nodiscard]] bool is_null(int column) const;
  [[nodiscard]] std::int64_t integer(int column) const;
  [[nodiscard]] std::string text(int column) const;  // or blob

 private:
  void note(int status);

  Database& database_;
  sqlite3_stmt* statement_;
  int status_;  // the first error of preparing or binding; told by the first step
  int bound_ = 0;
};

class Database {
 public:
  // Opens or creates `path`. The file may be older, newer, or not ours: schema.h looks.
  [[nodiscard]] static Result<std::unique_ptr<Database>> open(const std::string& path);

  explicit Database(std::string path) : path_(std::move(path)) {}
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;
  ~Database();

  // Statements without parameters and rows.
  [[nodiscard]] Result<void> execute(const std::string& sql);

  // Prepared once per text and kept: texts are ours, so there are few.
  [[nodiscard]] Query query(const std::string& sql);

  // Whether the next transactions are on the disk when they are committed, as they are at first. Those that are not are
  // taken along by the next one that is; a power cut before takes them together with all behind them. Not within one.
  [[nodiscard]] Result<void> sync_commits(bool on);

  [[nodiscard]] std::int64_t changes() const;      // rows changed by the last statement
  [[nodiscard]] std::int64_t last_row_id() const;  // of the last insert
  [[nodiscard]] bool in_transaction() const;

  // What the connection's last call failed with, if it failed with `status`.
  [[nodiscard]] Error error(int status) const;

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  struct Closer {
    void operator()(sqlite3* database) const { sqlite3_close(database); }
  };
  struct Finalizer {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };

  std::string path_;
  bool syncs_ = true;
  std::unique_ptr<sqlite3, Closer> database_;
  std::unordered_map<std::string, std::unique_ptr<sqlite3_stmt, Finalizer>> statements_;  // go before the connection
};

}  // namespace millrace::sqlite
