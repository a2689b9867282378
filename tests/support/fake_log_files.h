// The files of a log in memory, with everything that can go wrong: a disk that fills up, operations that fail, and
// power that goes away with whatever was not synced.
//
//   auto files = std::make_shared<FakeLogFiles>();
//   ... open a log broker on it, drop it ...
//   files->lose_power(random);      // each unsynced sector and name is there or not
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "broker/log/log_files.h"

namespace millrace {

class FakeLogFiles final : public LogFiles, public std::enable_shared_from_this<FakeLogFiles> {
 public:
  enum class Operation : std::uint8_t { read, write, sync, allocate, list, create, open, rename, remove, sync_names };

  FakeLogFiles() = default;

  // Asked before each operation, on the thread that does it; what it returns happens instead. Null: nothing fails.
  void set_fault(std::function<std::optional<Error>(Operation, const std::string& name)> fault);
  // Bytes that allocate() can still give out; removing gives back.
  void set_space(std::uint64_t bytes);
  void lose_power(std::mt19937& random);

  // Direct access for tests that damage files.
  [[nodiscard]] std::vector<std::string> names() const;
  [[nodiscard]] std::string contents(const std::string& name) const;
  void set_contents(const std::string& name, std::string bytes);
  void forget(const std::string& name);
  [[nodiscard]] std::uint64_t changes() const;  // operations so far that changed anything

  // A copy of what is there, for trying damage without losing the original.
  [[nodiscard]] std::shared_ptr<FakeLogFiles> copy() const;

  Result<void> lock() override { return {}; }
  Result<std::vector<std::string>> list() override;
  Result<std::shared_ptr<LogFile>> create(const std::string& name) override;
  Result<std::shared_ptr<LogFile>> open(const std::string& name) override;
  Result<void> rename(const std::string& from, const std::string& to) override;
  Result<void> remove(const std::string& name) override;
  Result<void> sync() override;
  std::string path_of(std::string_view name) const override { return "fake/" + std::string(name); }

 private:
  class File;
  struct Write {
    std::uint64_t offset;
    std::string bytes;
  };
  struct Node {
    std::string name;    // the last one, for faults
    std::string data;    // what a reader sees
    std::string stable;  // what is on the disk for certain
    std::vector<Write> unsynced;
  };
  using Names = std::map<std::string, std::shared_ptr<Node>>;

  [[nodiscard]] Result<void> check(Operation operation, const std::string& name);

  mutable std::mutex mutex_;  // guards all below
  std::function<std::optional<Error>(Operation, const std::string&)> fault_;
  std::uint64_t space_ = UINT64_MAX;
  std::uint64_t changes_ = 0;
  Names names_;
  Names stable_names_;
};

}  // namespace millrace
