// Durable queues side by side: each takes messages of 1 KiB, hands them out and forgets them when they are acked, with
// a sync for whatever is queued at the time. `window` is how many messages are on their way at once; SQLite and LMDB
// write so many in one transaction, as a program that collects them would: 1 is a commit for each message.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace millrace::bench {

class Queue {
 public:
  Queue() = default;
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;
  virtual ~Queue() = default;

  // Takes, hands out and acks `messages`. If `latencies_us` is given, how long each took from its publish to its ack.
  virtual void run(std::uint64_t window, std::uint64_t messages, std::vector<double>* latencies_us) = 0;
};

// The embedded log.
std::unique_ptr<Queue> make_millrace(const std::filesystem::path& directory);
// What nobody can do without: records with a checksum, group commit, one sync for all that is queued, the message read
// back from memory. None of the semantics.
std::unique_ptr<Queue> make_raw(const std::filesystem::path& directory);
// A table, write-ahead log, synchronous=FULL; a transaction removes the messages before and adds the next.
std::unique_ptr<Queue> make_sqlite(const std::filesystem::path& directory);
// The same on LMDB with its default durability.
std::unique_ptr<Queue> make_lmdb(const std::filesystem::path& directory);

// Fills a log with messages that nobody takes, and leaves it as a crash would.
void fill_log(const std::filesystem::path& directory, std::uint64_t messages);
// Seconds until a log is open, and how many messages it holds then.
double open_log(const std::filesystem::path& directory, std::uint64_t expected);
// Seconds to read all files of a directory and checksum them.
double checksum_files(const std::filesystem::path& directory);
// Percent of a core that `topics` subscribed topics without messages cost.
double idle_topics(const std::filesystem::path& directory, std::uint64_t topics, double seconds);

}  // namespace millrace::bench
