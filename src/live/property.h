// Properties that must hold for every seed. One that does not is shrunk: every number that the failing case
// drew is made as small as it can be while the case still fails. LIVEWEIGHT_TEST_SEED sets the first seed and
// LIVEWEIGHT_TEST_ROUNDS how many.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace liveweight::testing {

using Random = std::mt19937_64;

// The numbers that a case has drawn, and those that it is to have instead of them. One case runs at a time,
// and draws in one thread.
struct Draws {
  std::vector<int64_t> lows, values;
  std::map<size_t, int64_t> instead;

  int64_t take(int64_t low, int64_t high, int64_t drawn) {
    const auto wanted = instead.find(values.size());
    lows.push_back(low);
    values.push_back(wanted == instead.end() ? drawn : std::clamp(wanted->second, low, high));
    return values.back();
  }

  static Draws& current() {
    static Draws draws;
    return draws;
  }
};

// What the case that is running has failed with so far; null where none runs.
inline ::testing::TestPartResultArray*& failures_of_case() {
  static ::testing::TestPartResultArray* failures = nullptr;
  return failures;
}

inline int64_t between(Random& random, int64_t low, int64_t high) {
  const int64_t drawn = std::uniform_int_distribution<int64_t>(low, high)(random);
  return failures_of_case() ? Draws::current().take(low, high, drawn) : drawn;
}

inline uint64_t environment_number(const char* name, uint64_t fallback) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : fallback;
}

inline bool has_failed() {
  return failures_of_case() ? failures_of_case()->size() > 0 : ::testing::Test::HasFailure();
}

// property(random, seed) for each seed; stops with the first that fails.
class Property {
 public:
  using Body = std::function<void(Random&, uint64_t)>;

  explicit Property(Body body) : body_(std::move(body)) {}

  // The smallest case found that fails like the seed's own; empty where that does not fail.
  struct Failure {
    std::string message;         // empty: nothing failed
    std::vector<int64_t> drawn;  // what it drew
    int64_t runs = 0;            // that the search took
  };

  Failure try_seed(uint64_t seed) const {
    Failure failure{run(seed, {}), Draws::current().values, 1};
    if (failure.message.empty()) return failure;
    Draws draws = Draws::current();
    const auto fails_with = [&](const std::map<size_t, int64_t>& instead) {
      if (failure.runs == kMostRuns) return false;
      ++failure.runs;
      std::string message = run(seed, instead);
      if (message.empty()) return false;
      draws = Draws::current();
      failure.message = std::move(message);
      return true;
    };
    shrink_together(draws, fails_with);
    shrink_alone(draws, fails_with);
    failure.drawn = draws.values;
    return failure;
  }

 private:
  static constexpr int64_t kMostRuns = 400;

  std::string run(uint64_t seed, std::map<size_t, int64_t> instead) const {
    Draws::current() = {{}, {}, std::move(instead)};
    ::testing::TestPartResultArray failures;
    failures_of_case() = &failures;
    {
      const ::testing::ScopedFakeTestPartResultReporter reporter(
          ::testing::ScopedFakeTestPartResultReporter::INTERCEPT_ALL_THREADS, &failures);
      Random random(seed);
      body_(random, seed);
    }
    failures_of_case() = nullptr;
    std::string message;
    for (int i = 0; i < failures.size(); ++i) {
      const ::testing::TestPartResult& part = failures.GetTestPartResult(i);
      if (!part.failed()) continue;
      message += fmt::format("{}:{}: {}\n", part.file_name() ? part.file_name() : "", part.line_number(),
                             part.message());
    }
    return message;
  }

  // Runs of draws as small as they can be, all at once: halves, quarters...
  template <typename Fails>
  static void shrink_together(const Draws& draws, const Fails& fails_with) {
    for (size_t length = draws.values.size(); length > 0; length /= 2) {
      for (size_t begin = 0; begin < draws.values.size(); begin += length) {
        std::map<size_t, int64_t> instead = draws.instead;
        const size_t end = std::min(begin + length, draws.values.size());
        for (size_t i = begin; i < end; ++i) instead[i] = draws.lows[i];
        if (instead != draws.instead) fails_with(instead);
      }
    }
  }

  // Each draw by bisection, to the smallest with which the case fails.
  template <typename Fails>
  static void shrink_alone(const Draws& draws, const Fails& fails_with) {
    for (size_t i = 0; i < draws.values.size(); ++i) {
      int64_t low = draws.lows[i], high = draws.values[i];
      while (low < high) {
        std::map<size_t, int64_t> instead = draws.instead;
        const int64_t middle = low + (high - low) / 2;
        instead[i] = middle;
        if (fails_with(instead)) {
          if (i >= draws.values.size()) break;
          high = middle;
        } else {
          low = middle + 1;
        }
      }
    }
  }

  Body body_;
};

// Gives how many seeds it held for.
inline uint64_t for_each_seed(uint64_t rounds, Property::Body body) {
  const Property property(std::move(body));
  const uint64_t first = environment_number("LIVEWEIGHT_TEST_SEED", 1);
  const uint64_t count = environment_number("LIVEWEIGHT_TEST_ROUNDS", rounds);
  for (uint64_t seed = first; seed < first + count; ++seed) {
    const Property::Failure failure = property.try_seed(seed);
    if (failure.message.empty()) continue;
    ADD_FAILURE() << "LIVEWEIGHT_TEST_SEED=" << seed << " LIVEWEIGHT_TEST_ROUNDS=1, shrunk by "
                  << failure.runs << " runs to the draws " << ::testing::PrintToString(failure.drawn) << "\n"
                  << failure.message;
    return seed - first;
  }
  return count;
}

}  // namespace liveweight::testing
