#include "async/uv_event_loop.h"

#include <sys/eventfd.h>
#include <unistd.h>
#include <uv.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <utility>

namespace millrace {
namespace {

constexpr int kRoundsMax = 16;  // of posted callbacks in one turn of the loop

// A libuv call that fails here means broken arguments or no descriptors left at start-up: nothing can go on.
void check(int status) {
  if (status < 0) std::abort();
}

// libuv frees a handle's memory only in its close callback, one turn later: the handle lives in a block of its own that
// the RAII object lets go of.
template <class UvHandle>
class UvRegistration final : public EventLoop::Handle {
 public:
  struct Block {
    UvHandle uv{};
    EventLoop::Callback callback;
    bool once = false;
  };

  explicit UvRegistration(Block* block) : block_(block) { block_->uv.data = block_; }
  ~UvRegistration() override {
    block_->callback = nullptr;
    uv_close(reinterpret_cast<uv_handle_t*>(&block_->uv),  // NOLINT: libuv's handle types are "derived" by layout
             [](uv_handle_t* handle) { delete static_cast<Block*>(handle->data); });
  }

  // A one-time callback may destroy its own registration, so it is moved out before it runs.
  static void run(UvHandle* handle) {
    auto* block = static_cast<Block*>(handle->data);
    if (!block->callback) return;
    if (block->once) {
      auto callback = std::exchange(block->callback, nullptr);
      callback();
      return;
    }
    // A repeated callback may do the same: keep the code it runs alive until it returns.
    auto callback = std::move(block->callback);
    block->callback = [] {};
    callback();
    if (block->callback) block->callback = std::move(callback);
  }

 private:
  Block* block_;
};

}  // namespace

struct UvEventLoop::Native {
  int wake_fd = -1;
  uv_poll_t woken{};
  uv_prepare_t before_poll{};
  uv_check_t after_poll{};
};

void UvEventLoop::NativeDeleter::operator()(uv_loop_s* loop) const {
  // Whatever is left is closing: give the close callbacks their turn.
  while (uv_loop_close(loop) == UV_EBUSY) uv_run(loop, UV_RUN_ONCE);
  delete loop;
}

UvEventLoop::UvEventLoop() : loop_(new uv_loop_t), native_(new Native), thread_(std::this_thread::get_id()) {
  check(uv_loop_init(loop_.get()));
  // What was posted runs before the loop polls and after it: a wake-up from elsewhere only has to end the poll, and
  // what the loop's own callbacks post needs none, which saves three system calls each time a descriptor resumes a
  // coroutine.
  // An eventfd of our own and no uv_async_t: who wakes a loop of the same processor is put aside for it within the
  // write, and libuv's loop would then spin until that thread runs again to say that it is done, 30 us of each wake-up.
  native_->wake_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  check(uv_poll_init(loop_.get(), &native_->woken, native_->wake_fd));
  check(uv_poll_start(&native_->woken, UV_READABLE, [](uv_poll_t* handle, int, int) {
    std::uint64_t count = 0;
    const auto fd = static_cast<UvEventLoop*>(handle->data)->native_->wake_fd;
    static_cast<void>(!::read(fd, &count, sizeof count));  // nothing there: the read before took it along
  }));
  native_->before_poll.data = native_->after_poll.data = native_->woken.data = this;
  check(uv_prepare_init(loop_.get(), &native_->before_poll));
  check(uv_prepare_start(&native_->before_poll,
                         [](uv_prepare_t* handle) { static_cast<UvEventLoop*>(handle->data)->run_posted(); }));
  check(uv_check_init(loop_.get(), &native_->after_poll));
  check(uv_check_start(&native_->after_poll,
                       [](uv_check_t* handle) { static_cast<UvEventLoop*>(handle->data)->run_posted(); }));
}

UvEventLoop::~UvEventLoop() {
  inbox_.clear();  // may destroy tasks, which take registrations back
  at_rest_.clear();
  uv_close(reinterpret_cast<uv_handle_t*>(&native_->woken), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&native_->before_poll), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&native_->after_poll), nullptr);
  loop_.reset();  // runs the close callbacks; native_ must still be there
  ::close(native_->wake_fd);
}

void UvEventLoop::run() {
  thread_ = std::this_thread::get_id();
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(stopping_, false)) return;
  }
  uv_run(loop_.get(), UV_RUN_DEFAULT);
  const std::lock_guard lock(mutex_);
  stopping_ = false;
}

void UvEventLoop::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake();
}

void UvEventLoop::wake() {
  const std::uint64_t one = 1;
  // It fails only where the counter is full, and then the loop is about to wake up.
  static_cast<void>(!::write(native_->wake_fd, &one, sizeof one));
}

EventLoop::TimePoint UvEventLoop::now() const {
  // uv_now is the turn's time but in milliseconds; the clock itself costs 25 ns and agrees with everybody else's.
  return Clock::now();
}

std::chrono::system_clock::time_point UvEventLoop::wall_now() const {
  return std::chrono::system_clock::now();
}

void UvEventLoop::post(Callback callback) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    first = inbox_.empty() && !draining_;
    inbox_.push_back(std::move(callback));
  }
  if (first && !on_loop_thread()) wake();  // one for everything posted until it runs
}

void UvEventLoop::at_rest(Callback callback) {
  at_rest_.push_back(std::move(callback));
}

void UvEventLoop::run_posted() {
  // What a callback posts runs in the next round, without a trip through the kernel: one of our coroutines resumes the
  // next many times a run. After some rounds I/O gets its turn.
  for (int round = 0; round < kRoundsMax; ++round) {
    const bool last = round + 1 == kRoundsMax;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) uv_stop(loop_.get());
      running_.swap(inbox_);
      draining_ = !last && !(running_.empty() && at_rest_.empty());
    }
    if (running_.empty() && at_rest_.empty()) return;
    if (running_.empty() || last) {
      std::ranges::move(at_rest_, std::back_inserter(running_));
      at_rest_.clear();
    }
    for (auto& callback : running_) callback();
    running_.clear();
  }
  wake();  // there may be more: poll without waiting
}

std::unique_ptr<EventLoop::Handle> UvEventLoop::start_timer(Duration delay, Callback callback) {
  using Registration = UvRegistration<uv_timer_t>;
  auto* block = new Registration::Block{.uv = {}, .callback = std::move(callback), .once = true};
  check(uv_timer_init(loop_.get(), &block->uv));
  auto registration = std::make_unique<Registration>(block);
  // libuv counts whole milliseconds from the start of the turn: round up, and refresh its idea of now, so that a timer
  // is never early.
  const auto whole = std::chrono::ceil<std::chrono::milliseconds>(std::max(delay, Duration(0)));
  uv_update_time(loop_.get());
  check(uv_timer_start(&block->uv, Registration::run, static_cast<std::uint64_t>(whole.count()) + (whole.count() > 0),
                       0));
  return registration;
}

std::unique_ptr<EventLoop::Handle> UvEventLoop::watch(int fd, Interest interest, Callback callback) {
  using Registration = UvRegistration<uv_poll_t>;
  auto* block = new Registration::Block{.uv = {}, .callback = std::move(callback), .once = false};
  check(uv_poll_init(loop_.get(), &block->uv, fd));
  auto registration = std::make_unique<Registration>(block);
  const int events = interest == Interest::readable ? UV_READABLE | UV_DISCONNECT : UV_WRITABLE;
  check(uv_poll_start(&block->uv, events, [](uv_poll_t* handle, int, int) { Registration::run(handle); }));
  return registration;
}

bool UvEventLoop::on_loop_thread() const {
  return thread_.load() == std::this_thread::get_id();
}

}  // namespace millrace
