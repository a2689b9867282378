#include "engine/health.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "async/sleep.h"
#include "core/units.h"

namespace millrace {
namespace {

// No run has this id: asking for it only shows whether the store answers.
constexpr const char* kNoRun = "0";

std::vector<Result<void>> check_rooms(const std::vector<std::string>& directories) {
  std::vector<Result<void>> found;
  for (const auto& directory : directories) found.push_back(check_room(directory));
  return found;
}

}  // namespace

Result<void> check_room(const std::string& directory) {
  struct statvfs space{};
  if (::statvfs(directory.c_str(), &space) != 0) return fail(error_from_errno(errno, "look at " + directory));
  const std::uint64_t free = static_cast<std::uint64_t>(space.f_bavail) * space.f_frsize;
  if (free < kFreeBytesMin) {
    return fail(Errc::no_space, "less than " + format_bytes(kFreeBytesMin) + " free at " + directory +
                                    "; free some space: it goes on by itself");
  }
  // Some file systems have no fixed number of them.
  if (space.f_files > 0 && space.f_favail == 0) {
    return fail(Errc::no_space, "no inode left at " + directory + "; remove files: it goes on by itself");
  }
  return {};
}

Health::Health(EventLoop& loop, BlockingPool& pool, Broker& broker, StateStore& state, Options options, Log& log,
               Metrics& metrics)
    : loop_(loop),
      pool_(pool),
      broker_(broker),
      state_(state),
      options_(std::move(options)),
      log_(log),
      degraded_(metrics.gauge("millrace_degraded", "1 while this node cannot take work; /health says why")) {}

Task<void> Health::run(std::stop_token stop) {
  for (;;) {
    co_await look();
    const auto slept = co_await sleep_for(loop_, options_.every, stop);
    if (!slept) co_return;
  }
}

Task<void> Health::look() {
  auto found = co_await find_troubles();
  const auto before = std::exchange(troubles_, std::move(found));
  degraded_.set(troubles_.empty() ? 0 : 1);
  tell(before);
}

Task<std::vector<Health::Trouble>> Health::find_troubles() {
  std::vector<Trouble> troubles;
  const auto rooms = co_await pool_.run([directories = options_.directories] { return check_rooms(directories); });
  for (const auto& room : rooms) {
    if (!room) troubles.push_back({.what = "disk", .reason = room.error().message});
  }
  if (auto trouble = broker_.trouble()) {
    troubles.push_back({.what = "broker", .reason = std::move(trouble->message)});
  }
  if (state_.shared() == nullptr) co_return troubles;
  const auto answered = co_await state_.runs().get(RunId(kNoRun));
  if (!answered) troubles.push_back({.what = "state", .reason = answered.error().message});
  co_return troubles;
}

// Each once, when it comes and when it goes: a reason may hold numbers that change with every look.
void Health::tell(const std::vector<Trouble>& before) const {
  for (const auto& trouble : troubles_) {
    if (std::ranges::find(before, trouble.what, &Trouble::what) != before.end()) continue;
    log_.error("this node takes no more work", {{"what", trouble.what}, {"reason", trouble.reason}});
  }
  if (troubles_.empty() && !before.empty()) log_.info("this node takes work again");
}

}  // namespace millrace
