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

constexpr uint64_t kBytes = 64 << 10;

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
  std::filesystem::resize_file(path_, 8 << 10);
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
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the sanitizer has a handler of its own, which reports and exits";
#endif
  const Mapping ours = map();
  const FileDescriptor descriptor = open_regular_file(path_).value();
  const void* data = mmap(nullptr, kBytes, PROT_READ, MAP_SHARED, descriptor.get(), 0);
  std::filesystem::resize_file(path_, 0);
  EXPECT_EXIT((void)*static_cast<const volatile char*>(data), ::testing::KilledBySignal(SIGBUS), "");
  munmap(const_cast<void*>(data), kBytes);
}

}  // namespace
}  // namespace liveweight
