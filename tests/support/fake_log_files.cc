#include "tests/support/fake_log_files.h"

#include <algorithm>
#include <utility>

namespace millrace {

class FakeLogFiles::File final : public LogFile {
 public:
  File(std::shared_ptr<FakeLogFiles> owner, std::shared_ptr<Node> node)
      : owner_(std::move(owner)), node_(std::move(node)) {}

  Result<void> write(std::string_view bytes, std::uint64_t offset) override {
    if (auto ok = owner_->check(Operation::write, node_->name); !ok) return ok;
    const std::lock_guard lock(owner_->mutex_);
    ++owner_->changes_;
    if (node_->data.size() < offset + bytes.size()) node_->data.resize(offset + bytes.size(), '\0');
    node_->data.replace(offset, bytes.size(), bytes);
    node_->unsynced.push_back({.offset = offset, .bytes = std::string(bytes)});
    return {};
  }

  Result<std::size_t> read_into(std::uint64_t offset, std::span<char> into) override {
    if (auto ok = owner_->check(Operation::read, node_->name); !ok) return fail(ok.error());
    const std::lock_guard lock(owner_->mutex_);
    return offset >= node_->data.size() ? 0 : node_->data.copy(into.data(), into.size(), offset);
  }

  Result<void> sync() override {
    if (auto ok = owner_->check(Operation::sync, node_->name); !ok) return ok;
    const std::lock_guard lock(owner_->mutex_);
    for (const auto& write : std::exchange(node_->unsynced, {})) {
      if (node_->stable.size() < write.offset + write.bytes.size()) {
        node_->stable.resize(write.offset + write.bytes.size(), '\0');
      }
      node_->stable.replace(write.offset, write.bytes.size(), write.bytes);
    }
    return {};
  }

  Result<void> allocate(std::uint64_t size) override {
    if (auto ok = owner_->check(Operation::allocate, node_->name); !ok) return ok;
    const std::lock_guard lock(owner_->mutex_);
    if (size > owner_->space_) return fail(Errc::no_space, "allocate " + node_->name + ": the fake disk is full");
    owner_->space_ -= size;
    ++owner_->changes_;
    node_->data.resize(size, '\0');
    node_->stable = node_->data;
    return {};
  }

  Result<std::uint64_t> size() override {
    const std::lock_guard lock(owner_->mutex_);
    return node_->data.size();
  }

 private:
  std::shared_ptr<FakeLogFiles> owner_;
  std::shared_ptr<Node> node_;
};

void FakeLogFiles::set_fault(std::function<std::optional<Error>(Operation, const std::string&)> fault) {
  const std::lock_guard lock(mutex_);
  fault_ = std::move(fault);
}

void FakeLogFiles::set_space(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  space_ = bytes;
}

void FakeLogFiles::lose_power(std::mt19937& random) {
  constexpr std::size_t kSector = 512;
  const std::lock_guard lock(mutex_);
  // Names of the directory become stable together, as one journalled change would.
  if (random() % 2 == 0) stable_names_ = names_;
  names_ = stable_names_;
  for (auto& [name, node] : names_) {
    for (const auto& write : std::exchange(node->unsynced, {})) {
      for (std::size_t at = 0; at < write.bytes.size(); at += kSector) {
        if (random() % 2 == 0) continue;
        const auto piece = std::string_view(write.bytes).substr(at, kSector);
        if (node->stable.size() >= write.offset + at + piece.size()) {
          node->stable.replace(write.offset + at, piece.size(), piece);
        }
      }
    }
    node->data = node->stable;
    node->name = name;
  }
}

std::vector<std::string> FakeLogFiles::names() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [name, node] : names_) names.push_back(name);
  return names;
}

std::string FakeLogFiles::contents(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  return names_.at(name)->data;
}

void FakeLogFiles::set_contents(const std::string& name, std::string bytes) {
  const std::lock_guard lock(mutex_);
  auto& node = names_[name];
  node = std::make_shared<Node>();
  node->name = name;
  node->data = bytes;
  node->stable = std::move(bytes);
  stable_names_ = names_;
}

void FakeLogFiles::forget(const std::string& name) {
  const std::lock_guard lock(mutex_);
  names_.erase(name);
  stable_names_ = names_;
}

std::uint64_t FakeLogFiles::changes() const {
  const std::lock_guard lock(mutex_);
  return changes_;
}

std::shared_ptr<FakeLogFiles> FakeLogFiles::copy() const {
  auto made = std::make_shared<FakeLogFiles>();
  for (const auto& name : names()) made->set_contents(name, contents(name));
  return made;
}

Result<std::vector<std::string>> FakeLogFiles::list() {
  if (auto ok = check(Operation::list, {}); !ok) return fail(ok.error());
  return names();
}

Result<std::shared_ptr<LogFile>> FakeLogFiles::create(const std::string& name) {
  if (auto ok = check(Operation::create, name); !ok) return fail(ok.error());
  const std::lock_guard lock(mutex_);
  ++changes_;
  auto& node = names_[name];
  node = std::make_shared<Node>();
  node->name = name;
  return std::make_shared<File>(shared_from_this(), node);
}

Result<std::shared_ptr<LogFile>> FakeLogFiles::open(const std::string& name) {
  if (auto ok = check(Operation::open, name); !ok) return fail(ok.error());
  const std::lock_guard lock(mutex_);
  const auto found = names_.find(name);
  if (found == names_.end()) return fail(Errc::not_found, "open " + name + ": no such file");
  return std::make_shared<File>(shared_from_this(), found->second);
}

Result<void> FakeLogFiles::rename(const std::string& from, const std::string& to) {
  if (auto ok = check(Operation::rename, from); !ok) return ok;
  const std::lock_guard lock(mutex_);
  const auto found = names_.find(from);
  if (found == names_.end()) return fail(Errc::not_found, "rename " + from + ": no such file");
  ++changes_;
  auto node = std::move(found->second);
  names_.erase(found);
  node->name = to;
  names_[to] = std::move(node);
  return {};
}

Result<void> FakeLogFiles::remove(const std::string& name) {
  if (auto ok = check(Operation::remove, name); !ok) return ok;
  const std::lock_guard lock(mutex_);
  const auto found = names_.find(name);
  if (found == names_.end()) return fail(Errc::not_found, "remove " + name + ": no such file");
  ++changes_;
  if (space_ != UINT64_MAX) space_ += found->second->data.size();
  names_.erase(found);
  return {};
}

Result<void> FakeLogFiles::sync() {
  if (auto ok = check(Operation::sync_names, {}); !ok) return ok;
  const std::lock_guard lock(mutex_);
  stable_names_ = names_;
  return {};
}

Result<void> FakeLogFiles::check(Operation operation, const std::string& name) {
  std::function<std::optional<Error>(Operation, const std::string&)> fault;
  {
    const std::lock_guard lock(mutex_);
    fault = fault_;
  }
  if (!fault) return {};
  if (auto error = fault(operation, name)) return fail(std::move(*error));
  return {};
}

}  // namespace millrace
