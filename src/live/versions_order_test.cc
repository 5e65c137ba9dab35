// How readers and the one writer meet. The writer comes between any two instructions of a reader that enters:
// the processor's trap flag stops the reader after each of them, and the signal's handler is the writer. So
// every order of the two is tried, not only those that happen to come.
//
// Not where atomics take locks that the handler would wait for, nor where the instructions are ten times as
// many.
#if defined(__x86_64__) && defined(__OPTIMIZE__) && !defined(__SANITIZE_THREAD__)
#include <gtest/gtest.h>
#include <ucontext.h>
#include <x86intrin.h>

#include <csignal>
#include <functional>

#include "live/versions.h"

namespace liveweight {
namespace {

constexpr std::chrono::milliseconds kAtOnce{0};

// What the writer does in two moments. While it writes, nobody may read what it writes.
struct Writer {
  std::function<void()> begin, end;
};

constexpr unsigned kTrapFlag = 0x100;

// From its construction on the thread is stopped after every instruction, until the writer's second moment.
class Stepped {
 public:
  Stepped(const Writer& writer, int begin, int end) : writer_(writer), begin_(begin), end_(end) {
    struct sigaction action = {};
    action.sa_sigaction = trapped;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGTRAP, &action, &before_);
    current = this;
    __writeeflags(__readeflags() | kTrapFlag);
  }
  // What did not come until now comes now.
  ~Stepped() {
    const int done = count_.exchange(end_ + 1);
    if (done <= begin_) writer_.begin();
    if (done <= end_) writer_.end();
    sigaction(SIGTRAP, &before_, nullptr);
  }
  bool has_begun() const { return count_ > begin_; }

 private:
  static void trapped(int, siginfo_t*, void* context) {
    greg_t& flags = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL];
    flags = current->step() ? flags | kTrapFlag : flags & ~kTrapFlag;
  }
  bool step() {
    if (count_ > end_) return false;
    if (count_ == begin_) writer_.begin();
    if (count_ == end_) writer_.end();
    return ++count_ <= end_;
  }

  static inline Stepped* current = nullptr;
  const Writer& writer_;
  const int begin_, end_;
  std::atomic<int> count_{0};
  struct sigaction before_ = {};
};

class VersionsThatAReaderEnters : public ::testing::Test {
 protected:
  // In the reader's instructions. Longer, and a reader who waits at the gate might sleep: nobody would wake
  // it.
  static constexpr int kSlow = 40, kQuick = 16;

  void SetUp() override { versions_.publish(&versions_.other()); }

  // The writer takes so many instructions of the reader's.
  void expect_safe(const Writer& writer, int shortest, int longest) {
    bool came_in_time = true;
    for (int begin = 0; came_in_time; ++begin) {
      for (int writing = shortest; writing <= longest; ++writing) {
        SCOPED_TRACE(testing::Message() << "after " << begin << " instructions, for " << writing);
        came_in_time = read_beside(writer, begin, begin + writing);
        if (HasFailure()) return;
      }
    }
  }

  void write(const Snapshot::State* table) { written_ = table; }
  void written() { written_ = nullptr; }

  Versions versions_;

 private:
  // False where the writer began only when the reader was in.
  bool read_beside(const Writer& writer, int begin, int end) {
    Snapshot::State* entered = nullptr;
    bool safe = false, in_time = false;
    {
      const Stepped stepped(writer, begin, end);
      entered = versions_.enter();
      safe = !entered || entered != written_;
      in_time = stepped.has_begun();
    }
    EXPECT_TRUE(entered) << "told that there is no version";
    EXPECT_TRUE(safe) << "reads what is being written";
    if (entered) Versions::leave(*entered);
    EXPECT_TRUE(versions_.wait_for_readers(*versions_.current(), kAtOnce) &&
                versions_.wait_for_readers(versions_.other(), kAtOnce))
        << "still counted";
    return in_time;
  }

  std::atomic<const Snapshot::State*> written_{nullptr};
};

TEST_F(VersionsThatAReaderEnters, AreNotTheOneThatIsOverwrittenAfterAFlip) {
  expect_safe({[&] {
                 const Snapshot::State* old = versions_.current();
                 versions_.publish(&versions_.other());
                 if (versions_.wait_for_readers(*old, kAtOnce)) write(old);
               },
               [&] { written(); }},
              kSlow, kSlow);
}

TEST_F(VersionsThatAReaderEnters, AreNoneWhileTheGateIsShut) {
  expect_safe({[&] {
                 if (versions_.shut_gate(kAtOnce)) write(versions_.current());
               },
               [&] {
                 written();
                 versions_.open_gate();
               }},
              kSlow, kSlow);
}

// As in_place does.
TEST_F(VersionsThatAReaderEnters, AreThereAlthoughOneIsWithdrawnForAMoment) {
  Snapshot::State* next = nullptr;
  expect_safe({[&] {
                 next = versions_.shut_gate(kAtOnce) ? &versions_.other() : nullptr;
                 if (next) versions_.publish(nullptr);
               },
               [&] {
                 if (next) versions_.publish(next);
                 versions_.open_gate();
               }},
              1, kQuick);
}

}  // namespace
}  // namespace liveweight
#endif
