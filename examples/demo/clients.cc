#include "demo/clients.h"

namespace liveweight::demo {
namespace {

constexpr int64_t kMostTokens = 8;  // an answer has four digits and its end

}  // namespace

Clients::Clients(const Sample& sample, StepThread& server, Ledger& ledger, int count)
    : sample_(sample), server_(server), ledger_(ledger) {
  for (int i = 0; i < count; ++i) threads_.emplace_back([this] { run(); });
}

Clients::~Clients() {
  stop();
}

void Clients::stop() {
  stopping_ = true;
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Clients::run() {
  while (!stopping_) {
    const size_t problem = next_++ % sample_.problems.size();
    Request request;
    request.prompt = sample_.prompts[problem];
    request.sampling.max_new_tokens = kMostTokens;
    const Result<Completion> completion = server_.ask(std::move(request));
    if (!completion) return ledger_.add_failure(completion.error().message);
    ledger_.add(*completion, sample_.is_right(problem, *completion));
  }
}

}  // namespace liveweight::demo
