#include "checkpoint/mapping.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "checkpoint/file.h"

namespace liveweight {
namespace {

// Sixteen pages, whatever their size.
const uint64_t kBytes = 16 * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));

class MappingTest : public ::testing::Test {
 protected:
  void SetUp() override { std::ofstream(path_, std::ios::binary) << std::string(kBytes, 'x'); }
  void TearDown() override { std::filesystem::remove(path_); }

  Mapping map() const {
    const FileDescriptor descriptor = open_regular_file(path_).value();
    return Mapping::create(descriptor.get(), kBytes, path_, Mapping::Access::kRead).value();
  }

  const std::filesystem::path path_ =
      std::filesystem::path(::testing::TempDir()) /
      (std::string("mapping_") + ::testing::UnitTest::GetInstance()->current_test_info()->name());
};

TEST_F(MappingTest, APageThatTheFileLostReadsAsZerosAndIsTold) {
  const Mapping mapping = map();
  EXPECT_EQ(mapping.bytes()[kBytes - 1], std::byte{'x'});
  std::filesystem::resize_file(path_, kBytes / 8);
  EXPECT_TRUE(mapping.check_whole()) << "nothing was read yet";
  EXPECT_EQ(mapping.bytes()[0], std::byte{'x'});
  EXPECT_EQ(mapping.bytes()[kBytes / 2], std::byte{0});
  EXPECT_EQ(mapping.bytes()[kBytes - 1], std::byte{0});
  EXPECT_EQ(mapping.bytes()[0], std::byte{'x'}) << "what is still there stays";
  EXPECT_EQ(mapping.check_whole().error().code, ErrorCode::kIo);
}

TEST_F(MappingTest, APageThatTheFileLostCanBeWrittenWhereOthersCan) {
  for (const auto access : {Mapping::Access::kPrivate, Mapping::Access::kShared}) {
    SetUp();
    const Mapping mapping = Mapping::open(path_, access).value();
    std::filesystem::resize_file(path_, 0);
    mapping.writable()[kBytes / 2] = std::byte{'y'};
    EXPECT_EQ(mapping.bytes()[kBytes / 2], std::byte{'y'});
    EXPECT_FALSE(mapping.check_whole());
  }
}

TEST_F(MappingTest, AMappingAfterOneThatWasLostIsWhole) {
  {
    const Mapping mapping = map();
    std::filesystem::resize_file(path_, 0);
    EXPECT_EQ(mapping.bytes()[5], std::byte{0});
  }
  SetUp();
  const Mapping mapping = map();
  EXPECT_EQ(mapping.bytes()[kBytes - 1], std::byte{'x'});
  EXPECT_TRUE(mapping.check_whole());
}

TEST_F(MappingTest, AFaultElsewhereStillEndsTheProcess) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer has a handler of its own, which reports and exits";
#endif
  const Mapping ours = map();
  const FileDescriptor descriptor = open_regular_file(path_).value();
  const void* data = mmap(nullptr, kBytes, PROT_READ, MAP_SHARED, descriptor.get(), 0);
  std::filesystem::resize_file(path_, 0);
  EXPECT_EXIT((void)*static_cast<const volatile char*>(data), ::testing::KilledBySignal(SIGBUS), "");
  munmap(const_cast<void*>(data), kBytes);
}

TEST_F(MappingTest, IsGoneWithItsObject) {
  std::byte* data = nullptr;
  {
    const Mapping mapping = map();
    data = mapping.writable().data();
    EXPECT_EQ(msync(data, kBytes, MS_ASYNC), 0);
  }
  EXPECT_NE(msync(data, kBytes, MS_ASYNC), 0);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer has a handler of its own, which reports and exits";
#endif
  const FileDescriptor descriptor = open_regular_file(path_).value();
  void* theirs = mmap(data, kBytes, PROT_READ, MAP_SHARED | MAP_FIXED, descriptor.get(), 0);
  ASSERT_EQ(theirs, data);
  std::filesystem::resize_file(path_, 0);
  EXPECT_EXIT((void)*static_cast<const volatile char*>(theirs), ::testing::KilledBySignal(SIGBUS), "");
  munmap(theirs, kBytes);
}

void exit_with_code_of(int, siginfo_t* info, void*) {
  _exit(info->si_addr ? 7 : 1);
}
void exit_with_8(int) {
  _exit(8);
}

// A fault that is not ours, in a process with a handler that was there before ours.
[[noreturn]] void fault_elsewhere(const std::filesystem::path& path, const struct sigaction& before) {
  sigaction(SIGBUS, &before, nullptr);
  const FileDescriptor descriptor = open_regular_file(path).value();
  const Mapping ours = Mapping::create(descriptor.get(), kBytes, path, Mapping::Access::kRead).value();
  const void* data = mmap(nullptr, kBytes, PROT_READ, MAP_SHARED, descriptor.get(), 0);
  std::filesystem::resize_file(path, 0);
  (void)*static_cast<const volatile char*>(data);
  _exit(1);
}

TEST_F(MappingTest, AFaultElsewhereIsTheHandlersThatWasThereBefore) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer has a handler of its own";
#endif
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // a process in which nothing was mapped yet
  struct sigaction before {};
  before.sa_flags = SA_SIGINFO;
  before.sa_sigaction = exit_with_code_of;
  EXPECT_EXIT(fault_elsewhere(path_, before), ::testing::ExitedWithCode(7), "");
  before.sa_flags = 0;
  before.sa_handler = exit_with_8;
  SetUp();
  EXPECT_EXIT(fault_elsewhere(path_, before), ::testing::ExitedWithCode(8), "");
}

}  // namespace
}  // namespace liveweight
