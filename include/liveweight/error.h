// Errors as values. No function of the library throws, prints or aborts on bad input: it returns a Result.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

namespace liveweight {

// One line each; `to_string` gives the spelling that JSON and HTTP use.
enum class ErrorCode : uint8_t {
  kInvalidArgument,    // a flag, a configuration or an argument that makes no sense
  kIo,                 // the operating system refused to open, map, read or write a file
  kBadCheckpoint,      // a file that is not what its format demands
  kUnknownTensor,      // a name that the plan does not know, or that the update's scope leaves out
  kMissingTensor,      // a tensor, or a part of one, that did not come
  kDuplicateTensor,    // elements that came twice
  kWrongShape,         // a shape or a region other than the plan's
  kWrongDtype,         // an element type other than the plan's
  kNonFinite,          // a NaN, an infinity, or a value whose scale overflows
  kUnsupported,        // well-formed, but not something that this build can do
  kStaleVersion,       // the base version of an update is not the current one
  kDigestMismatch,     // the content is not what the source promised
  kFailedState,        // the call does not fit the state: no update, a failed one, nothing to roll back to
  kBusy,               // another update is open, or readers did not let go in time
  kAborted,            // the update was aborted
  kResourceExhausted,  // more memory than the budget or the machine allows
  kInternal,           // a bug in Liveweight
};

std::string_view to_string(ErrorCode code);

// What went wrong, in one sentence that names what was expected and what came; `names` holds the tensors,
// files or fields involved, for programs.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
  std::vector<std::string> names;
};

template <typename T>
using Result = tl::expected<T, Error>;
using Status = tl::expected<void, Error>;

// fail(code, "sentence", {names}) converts to any Result.
tl::unexpected<Error> fail(ErrorCode code, std::string message, std::vector<std::string> names = {});

}  // namespace liveweight

// Leave the function with the error of `expression`, if it has one.
#define LW_TRY(expression)                                                                              \
  do {                                                                                                  \
    if (auto lw_status = (expression); !lw_status) return tl::unexpected(std::move(lw_status).error()); \
  } while (false)

// LW_ASSIGN(auto x, expression): x is its value, or leave with its error.
#define LW_JOIN_(a, b) a##b
#define LW_JOIN(a, b) LW_JOIN_(a, b)
#define LW_ASSIGN(declaration, expression)                                   \
  auto LW_JOIN(lw_result_, __LINE__) = (expression);                         \
  if (!LW_JOIN(lw_result_, __LINE__))                                        \
    return tl::unexpected(std::move(LW_JOIN(lw_result_, __LINE__)).error()); \
  declaration = std::move(*LW_JOIN(lw_result_, __LINE__))
