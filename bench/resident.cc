#include "bench/resident.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <string>

namespace liveweight::bench {

uint64_t anonymous_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("RssAnon:", 0) == 0) return std::stoull(line.substr(8)) * 1024;
  }
  return 0;
}

PeakSampler::PeakSampler() : begin_(anonymous_bytes()), peak_(begin_) {
  thread_ = std::thread([this] {
    while (!stop_) {
      peak_ = std::max<uint64_t>(peak_, anonymous_bytes());
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
}

PeakSampler::~PeakSampler() {
  growth();
}

uint64_t PeakSampler::growth() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
  return peak_ - begin_;
}

}  // namespace liveweight::bench
