// Ctrl-C and SIGTERM as a flag. A second one ends the process at once.
#pragma once

namespace liveweight {

void watch_for_interrupts();
bool interrupted();

}  // namespace liveweight
