#include "infer/step_thread.h"

#include <chrono>
#include <future>
#include <memory>

namespace liveweight {
namespace {

constexpr std::chrono::milliseconds kPoll{20};

}  // namespace

StepThread::StepThread(Engine& engine, Watch watch)
    : engine_(engine), watch_(std::move(watch)), thread_([this] { run(); }) {}

StepThread::~StepThread() {
  stop();
}

void StepThread::stop() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
}

Result<Completion> StepThread::ask(Request request) {
  const auto answer = std::make_shared<std::promise<Completion>>();
  std::future<Completion> future = answer->get_future();
  RequestCallbacks callbacks;
  callbacks.on_finish = [answer](const Completion& completion) { answer->set_value(completion); };
  LW_TRY(engine_.submit(std::move(request), std::move(callbacks)));
  while (future.wait_for(kPoll) != std::future_status::ready) {
    if (const std::optional<Error> error = fault()) return tl::unexpected(*error);
  }
  return future.get();
}

void StepThread::run() {
  while (!stopping_) {
    if (!engine_.wait_for_work(kPoll)) continue;
    if (watch_.before) watch_.before();
    Result<bool> worked = engine_.step();
    if (!worked) {
      std::lock_guard lock(mutex_);
      fault_ = std::move(worked).error();
      return;
    }
    if (*worked && watch_.after) watch_.after();
  }
}

std::optional<Error> StepThread::fault() const {
  std::lock_guard lock(mutex_);
  return fault_;
}

}  // namespace liveweight
