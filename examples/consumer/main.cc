// Loads and quantizes the checkpoint in one directory, then takes the weights of another into the running
// model.
#include <cstdio>

#include "liveweight/digest.h"
#include "liveweight/load.h"

using namespace liveweight;

Status print(const LiveModel& model) {
  LW_ASSIGN(const ModelDigest digest, digest_of(model));
  const Version version = model.version();
  std::printf("%s  version %llu from %s\n", digest.model.hex().c_str(),
              static_cast<unsigned long long>(version.number), version.label.c_str());
  return {};
}

Status run(const char* directory, const char* next) {
  LW_ASSIGN(const ModelDirectory opened, open_model_directory(directory));
  LW_ASSIGN(const Scheme scheme, parse_scheme("fp8_per_block"));
  LoadOptions options;
  LW_ASSIGN(options.quantization, choose_quantization(opened, QuantizationConfig::uniform(scheme)));
  options.label = directory;
  LW_ASSIGN(const auto model, load_model(opened, options));
  LW_TRY(print(*model));

  LW_ASSIGN(const Checkpoint checkpoint, Checkpoint::open(next));
  UpdateOptions update;
  update.label = next;
  LW_TRY(reload(*model, checkpoint, {}, update));  // all or nothing; readers go on meanwhile
  return print(*model);
}

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "usage: consumer DIR NEW_DIR\n"), 64;
  const Status status = run(argv[1], argv[2]);
  if (status) return 0;
  std::fprintf(stderr, "consumer: error: %s\n", status.error().message.c_str());
  return 2;
}
