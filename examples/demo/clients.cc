#include "demo/clients.h"

namespace liveweight::demo {
namespace {

constexpr int64_t kMostTokens = 8;  // an answer has four digits and its end

}  // namespace

Clients::Clients(const Sample& sample, StepThread& server, Ledger& ledger, int count)
    : sample_(sample),
      server_(server),
      ledger_(ledger),
      threads_(count, [this](size_t number) { return ask(number); }) {}

bool Clients::ask(size_t number) {
  const size_t problem = number % sample_.problems.size();
  Request request;
  request.prompt = sample_.prompts[problem];
  request.sampling.max_new_tokens = kMostTokens;
  const Result<Completion> completion = server_.ask(std::move(request));
  if (!completion) {
    ledger_.add_failure(completion.error().message);
    return false;
  }
  ledger_.add(*completion, sample_.is_right(problem, *completion));
  return true;
}

}  // namespace liveweight::demo
