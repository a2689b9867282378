#include "state/sqlite/database.h"

#include <utility>

namespace millrace::sqlite {
namespace {

// Another program, such as a backup or a shell, may hold a lock for a moment.
constexpr int kBusyTimeoutMs = 5'000;

Errc code_of(int status, int error_number) {
  switch (status & 0xff) {  // the low byte is the class, the rest the detail
    case SQLITE_FULL: return Errc::no_space;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return Errc::data_loss;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH: return Errc::permission_denied;
    case SQLITE_NOMEM: return Errc::resource_exhausted;
    case SQLITE_TOOBIG: return Errc::too_large;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return Errc::unavailable;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN: return error_number == 0 ? Errc::unavailable : error_from_errno(error_number, "").code;
    default: return Errc::internal;
  }
}

}  // namespace

Query::Query(Database& database, sqlite3_stmt* statement, int status)
    : database_(database), statement_(statement), status_(status) {}

Query::~Query() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

void Query::note(int status) {
  if (status_ == SQLITE_OK) status_ = status;
}

void Query::bind(std::int64_t value) {
  note(sqlite3_bind_int64(statement_, ++bound_, value));
}

// Text goes in as it is: keys are file names, and those are bytes. The static binding is safe since the query is over
// before its parameters are.
void Query::bind(std::string_view value) {
  const char* data = value.empty() ? "" : value.data();  // a null pointer would bind NULL
  note(sqlite3_bind_text64(statement_, ++bound_, data, value.size(), SQLITE_STATIC, SQLITE_UTF8));
}

void Query::bind_blob(std::string_view value) {
  const char* data = value.empty() ? "" : value.data();
  note(sqlite3_bind_blob64(statement_, ++bound_, data, value.size(), SQLITE_STATIC));
}

void Query::bind_null() {
  note(sqlite3_bind_null(statement_, ++bound_));
}

Result<bool> Query::next() {
  if (status_ != SQLITE_OK) return fail(database_.error(status_));
  const int status = sqlite3_step(statement_);
  if (status == SQLITE_ROW) return true;
  if (status == SQLITE_DONE) return false;
  return fail(database_.error(status));
}

Result<void> Query::run() {
  for (;;) {
    const auto row = next();
    if (!row) return fail(row.error());
    if (!*row) return {};
  }
}

bool Query::is_null(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

std::int64_t Query::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}

std::string Query::text(int column) const {
  // As a blob: no conversion, whatever the column was written as.
  const auto* data = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  if (data == nullptr) return {};
  return {data, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

Result<std::unique_ptr<Database>> Database::open(const std::string& path) {
  auto database = std::make_unique<Database>(path);
  sqlite3* raw = nullptr;
  // NOMUTEX: a connection is used by one thread at a time.
  const int status = sqlite3_open_v2(
      path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
      nullptr);
  if (raw == nullptr) return fail(Errc::resource_exhausted, "state store " + path + ": out of memory");
  database->database_.reset(raw);  // also after an error, which it explains
  if (status != SQLITE_OK) return fail(database->error(status));
  sqlite3_busy_timeout(raw, kBusyTimeoutMs);
  // The file may come from elsewhere: its schema must not reach for functions with side effects.
  sqlite3_db_config(raw, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  sqlite3_db_config(raw, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  // The log and its index stay when it is closed: on a full disk they could not be made anew, and it could not be
  // opened.
  int keep = 1;
  sqlite3_file_control(raw, nullptr, SQLITE_FCNTL_PERSIST_WAL, &keep);
  return database;
}

Database::~Database() = default;

Result<void> Database::execute(const std::string& sql) {
  const int status = sqlite3_exec(database_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  if (status != SQLITE_OK) return fail(error(status));
  return {};
}

Result<void> Database::sync_commits(bool on) {
  if (on == syncs_) return {};
  auto done = execute(on ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
  if (done) syncs_ = on;
  return done;
}

Query Database::query(const std::string& sql) {
  auto& statement = statements_[sql];
  if (statement != nullptr) return {*this, statement.get(), SQLITE_OK};
  sqlite3_stmt* raw = nullptr;
  const int status = sqlite3_prepare_v3(database_.get(), sql.c_str(), static_cast<int>(sql.size() + 1),
                                        SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
  statement.reset(raw);
  return {*this, raw, status};
}

std::int64_t Database::changes() const {
  return sqlite3_changes64(database_.get());
}

std::int64_t Database::last_row_id() const {
  return sqlite3_last_insert_rowid(database_.get());
}

bool Database::in_transaction() const {
  return sqlite3_get_autocommit(database_.get()) == 0;
}

Error Database::error(int status) const {
  const Errc code = code_of(status, sqlite3_system_errno(database_.get()));
  std::string message = "state store " + path_ + ": " + sqlite3_errmsg(database_.get());
  if (code == Errc::data_loss) message += "; restore the file from a copy, nothing in it was changed by this error";
  if (code == Errc::no_space) message += "; free some space, writing goes on by itself";
  if (code == Errc::permission_denied) message += "; the daemon's user must be able to write it and its directory";
  return {.code = code, .message = std::move(message)};
}

}  // namespace millrace::sqlite
