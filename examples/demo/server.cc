#include "demo/server.h"

#include <future>
#include <memory>

namespace liveweight::demo {
namespace {

constexpr std::chrono::milliseconds kPoll{20};

}  // namespace

Server::Server(Engine& engine) : engine_(engine), thread_([this] { run(); }) {}

Server::~Server() {
  stopping_ = true;
  thread_.join();
}

Result<Completion> Server::ask(Request request) {
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

void Server::run() {
  while (!stopping_) {
    if (!engine_.wait_for_work(kPoll)) continue;
    if (Result<bool> worked = engine_.step(); !worked) {
      std::lock_guard lock(mutex_);
      fault_ = std::move(worked).error();
      return;
    }
  }
}

std::optional<Error> Server::fault() const {
  std::lock_guard lock(mutex_);
  return fault_;
}

}  // namespace liveweight::demo
