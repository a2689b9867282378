#include <fcntl.h>
#include <lmdb.h>
#include <sqlite3.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <stdexcept>
#include <string_view>
#include <thread>

#include "bench/log/queues.h"
#include "bench/message_bytes.h"
#include "broker/crc32c.h"

namespace millrace::bench {
namespace {

void must(bool good, const char* what) {
  if (!good) throw std::runtime_error(what);
}

class RawQueue final : public Queue {
 public:
  explicit RawQueue(const std::filesystem::path& directory) {
    fd_ = ::open((directory / "raw").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    const std::string zeros(1 << 20, '\0');
    for (int i = 0; i < kSegmentMiB; ++i) must(::write(fd_, zeros.data(), zeros.size()) > 0, "fill the raw log");
    must(::fsync(fd_) == 0, "sync the raw log");
    thread_ = std::thread([this] { work(); });
  }
  ~RawQueue() override {
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
    }
    wake_.notify_all();
    thread_.join();
    ::close(fd_);
  }

  // Each message is made, kept until it is confirmed, and "consumed" by reading it and queueing its ack; it has left
  // the window when its ack is safe.
  void run(std::uint64_t window, std::uint64_t messages, std::vector<double>*) override {
    std::uint64_t sent = 0;
    std::uint64_t in_flight = 0;
    std::uint64_t done = 0;
    std::uint64_t seen = append("warm") - 1;
    const std::uint64_t first = seen + 1;
    std::vector<bool> is_message(1, false);
    while (done < messages) {
      for (; in_flight < window && sent < messages; ++sent, ++in_flight) {
        append(waiting_.emplace_back(kMessageBytes, 'x'));
        is_message.push_back(true);
      }
      flush();
      const std::uint64_t safe = wait(seen);
      for (std::uint64_t i = seen + 1; i <= safe; ++i) {
        if (i <= first) continue;
        if (is_message[i - first]) {
          sum_ ^= crc32c(waiting_.front());
          waiting_.pop_front();
          append("ack of one message, 40 bytes with head");
          is_message.push_back(false);
        } else {
          ++done;
          --in_flight;
        }
      }
      seen = safe;
    }
  }

 private:
  static constexpr int kSegmentMiB = 64;

  std::uint64_t append(std::string_view bytes) {
    const std::lock_guard lock(mutex_);
    const std::uint32_t head[2] = {crc32c(bytes), static_cast<std::uint32_t>(bytes.size())};
    queue_.append(reinterpret_cast<const char*>(head), sizeof head).append(bytes);
    queue_.resize((queue_.size() + 7) & ~std::size_t{7});
    return ++queued_;
  }
  void flush() {
    {
      const std::lock_guard lock(mutex_);
      flushed_ = true;
    }
    wake_.notify_one();
  }
  std::uint64_t wait(std::uint64_t more_than) {
    std::unique_lock lock(mutex_);
    safe_changed_.wait(lock, [&] { return safe_ > more_than; });
    return safe_;
  }
  void work() {
    std::string batch;
    std::uint64_t upto = 0;
    off_t at = 0;
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        safe_ = upto;
        safe_changed_.notify_all();
        wake_.wait(lock, [&] { return flushed_ || closing_; });
        if (closing_) return;
        flushed_ = false;
        batch.clear();
        batch.swap(queue_);
        upto = queued_;
      }
      if (at + static_cast<off_t>(batch.size()) > (kSegmentMiB << 20)) at = 0;
      if (::pwrite(fd_, batch.data(), batch.size(), at) < 0 || ::fdatasync(fd_) != 0) std::abort();
      at += static_cast<off_t>(batch.size());
    }
  }

  std::deque<std::string> waiting_;
  std::uint32_t sum_ = 0;
  int fd_ = -1;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable safe_changed_;
  std::string queue_;
  std::uint64_t queued_ = 0;
  std::uint64_t safe_ = 0;
  bool flushed_ = false;
  bool closing_ = false;
  std::thread thread_;
};

class SqliteQueue final : public Queue {
 public:
  explicit SqliteQueue(const std::filesystem::path& directory) {
    must(sqlite3_open((directory / "queue.db").c_str(), &database_) == SQLITE_OK, "open SQLite");
    execute(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
        "CREATE TABLE queue (id INTEGER PRIMARY KEY, body BLOB NOT NULL)");
    prepare(insert_, "INSERT INTO queue (body) VALUES (?)");
    prepare(read_, "SELECT id, body FROM queue ORDER BY id LIMIT ?");
    prepare(remove_, "DELETE FROM queue WHERE id <= ?");
  }
  ~SqliteQueue() override {
    for (sqlite3_stmt* statement : {insert_, read_, remove_}) sqlite3_finalize(statement);
    sqlite3_close(database_);
  }

  void run(std::uint64_t window, std::uint64_t messages, std::vector<double>*) override {
    std::int64_t acked = 0;
    for (std::uint64_t sent = 0; sent < messages;) {
      const std::uint64_t count = std::min(window, messages - sent);
      sent += count;
      execute("BEGIN IMMEDIATE");
      remove(acked);
      for (std::uint64_t i = 0; i < count; ++i) {
        sqlite3_bind_blob(insert_, 1, payload_.data(), static_cast<int>(payload_.size()), SQLITE_STATIC);
        step(insert_, SQLITE_DONE);
      }
      execute("COMMIT");
      acked = read(static_cast<std::int64_t>(count));
    }
    execute("BEGIN IMMEDIATE");
    remove(acked);
    execute("COMMIT");
  }

 private:
  void prepare(sqlite3_stmt*& statement, const char* sql) {
    must(sqlite3_prepare_v2(database_, sql, -1, &statement, nullptr) == SQLITE_OK, sql);
  }
  void execute(const char* sql) { must(sqlite3_exec(database_, sql, nullptr, nullptr, nullptr) == SQLITE_OK, sql); }
  static void step(sqlite3_stmt* statement, int expected) {
    must(sqlite3_step(statement) == expected, "step in SQLite");
    sqlite3_reset(statement);
  }
  void remove(std::int64_t upto) {
    sqlite3_bind_int64(remove_, 1, upto);
    step(remove_, SQLITE_DONE);
  }
  std::int64_t read(std::int64_t count) {
    std::int64_t last = 0;
    sqlite3_bind_int64(read_, 1, count);
    while (sqlite3_step(read_) == SQLITE_ROW) {
      last = sqlite3_column_int64(read_, 0);
      must(sqlite3_column_bytes(read_, 1) == static_cast<int>(kMessageBytes), "read from SQLite");
    }
    sqlite3_reset(read_);
    return last;
  }

  std::string payload_ = std::string(kMessageBytes, 'x');
  sqlite3* database_ = nullptr;
  sqlite3_stmt* insert_ = nullptr;
  sqlite3_stmt* read_ = nullptr;
  sqlite3_stmt* remove_ = nullptr;
};

class LmdbQueue final : public Queue {
 public:
  explicit LmdbQueue(const std::filesystem::path& directory) {
    must(mdb_env_create(&environment_) == 0 && mdb_env_set_mapsize(environment_, 1ULL << 30) == 0, "make LMDB");
    must(mdb_env_open(environment_, (directory / "lmdb").c_str(), MDB_NOSUBDIR, 0600) == 0, "open LMDB");
    MDB_txn* transaction = begin(0);
    must(mdb_dbi_open(transaction, nullptr, MDB_INTEGERKEY, &queue_) == 0, "open LMDB's table");
    must(mdb_txn_commit(transaction) == 0, "commit in LMDB");
  }
  ~LmdbQueue() override { mdb_env_close(environment_); }

  void run(std::uint64_t window, std::uint64_t messages, std::vector<double>*) override {
    for (std::uint64_t sent = 0; sent < messages;) {
      const std::uint64_t count = std::min(window, messages - sent);
      sent += count;
      MDB_txn* transaction = begin(0);
      remove_all(transaction);
      for (std::uint64_t i = 0; i < count; ++i) {
        MDB_val key{.mv_size = sizeof(next_), .mv_data = &next_};
        MDB_val body{.mv_size = payload_.size(), .mv_data = payload_.data()};
        must(mdb_put(transaction, queue_, &key, &body, MDB_APPEND) == 0, "put into LMDB");
        ++next_;
      }
      must(mdb_txn_commit(transaction) == 0, "commit in LMDB");
      must(read(count), "read from LMDB");
    }
    MDB_txn* transaction = begin(0);
    remove_all(transaction);
    must(mdb_txn_commit(transaction) == 0, "commit in LMDB");
  }

 private:
  MDB_txn* begin(unsigned flags) {
    MDB_txn* transaction = nullptr;
    must(mdb_txn_begin(environment_, nullptr, flags, &transaction) == 0, "begin in LMDB");
    return transaction;
  }
  void remove_all(MDB_txn* transaction) {
    for (; removed_ < next_; ++removed_) {
      MDB_val key{.mv_size = sizeof(removed_), .mv_data = &removed_};
      must(mdb_del(transaction, queue_, &key, nullptr) == 0, "delete in LMDB");
    }
  }
  bool read(std::uint64_t count) {
    MDB_txn* transaction = begin(MDB_RDONLY);
    MDB_cursor* cursor = nullptr;
    must(mdb_cursor_open(transaction, queue_, &cursor) == 0, "read LMDB");
    MDB_val key;
    MDB_val body;
    while (mdb_cursor_get(cursor, &key, &body, MDB_NEXT) == 0) count -= body.mv_size == kMessageBytes ? 1 : 0;
    mdb_cursor_close(cursor);
    mdb_txn_abort(transaction);
    return count == 0;
  }

  std::string payload_ = std::string(kMessageBytes, 'x');
  MDB_env* environment_ = nullptr;
  MDB_dbi queue_ = 0;
  std::uint64_t next_ = 1;
  std::uint64_t removed_ = 1;
};

}  // namespace

std::unique_ptr<Queue> make_raw(const std::filesystem::path& directory) {
  return std::make_unique<RawQueue>(directory);
}
std::unique_ptr<Queue> make_sqlite(const std::filesystem::path& directory) {
  return std::make_unique<SqliteQueue>(directory);
}
std::unique_ptr<Queue> make_lmdb(const std::filesystem::path& directory) {
  return std::make_unique<LmdbQueue>(directory);
}

}  // namespace millrace::bench
