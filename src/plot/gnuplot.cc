#include "plot/gnuplot.h"

#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <sstream>

extern char** environ;

namespace liveweight::plot {
namespace {

using File = std::unique_ptr<FILE, int (*)(FILE*)>;

Status system_error(const char* what, int code) {
  return fail(ErrorCode::kIo, fmt::format("gnuplot: {}: {}", what, std::strerror(code)), {"gnuplot"});
}

// In a process group of its own, so that Ctrl-C in a terminal leaves it to finish the picture.
int spawn(FILE* script, FILE* messages, pid_t& pid) {
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, fileno(script), 0);
  posix_spawn_file_actions_adddup2(&files, fileno(messages), 1);
  posix_spawn_file_actions_adddup2(&files, fileno(messages), 2);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  char name[] = "gnuplot", no_settings[] = "-d";
  char* arguments[] = {name, no_settings, nullptr};
  const int code = posix_spawnp(&pid, name, &files, &attributes, arguments, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  return code;
}

// What it said, in one line.
std::string text_of(FILE* file) {
  std::string text(2000, '\0');
  std::rewind(file);
  text.resize(std::fread(text.data(), 1, text.size(), file));
  std::istringstream words(text);
  std::string line;
  for (std::string word; words >> word;) line += (line.empty() ? "" : " ") + word;
  return line;
}

}  // namespace

Status run_gnuplot(const std::string& script) {
  const File input(std::tmpfile(), std::fclose), messages(std::tmpfile(), std::fclose);
  if (!input || !messages) return system_error("cannot make a temporary file", errno);
  const bool written = std::fwrite(script.data(), 1, script.size(), input.get()) == script.size();
  if (!written || std::fflush(input.get()) != 0) return system_error("cannot write a temporary file", errno);
  std::rewind(input.get());
  pid_t pid = 0;
  const int code = spawn(input.get(), messages.get(), pid);
  if (code == ENOENT) {
    return fail(ErrorCode::kUnsupported,
                "gnuplot: not found, and charts are drawn by it (Debian: gnuplot-nox)", {"gnuplot"});
  }
  if (code != 0) return system_error("cannot start it", code);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return system_error("cannot wait for it", errno);
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return fail(ErrorCode::kIo, fmt::format("gnuplot failed: {}", text_of(messages.get())), {"gnuplot"});
}

}  // namespace liveweight::plot
