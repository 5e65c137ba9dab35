// Carrying pieces of tensors that are quantized already into a slot, as their target's kind says.
#pragma once

#include "live/piece.h"
#include "live/plan_tables.h"

namespace liveweight {

// Checks the piece's values: finite, codes that fit, zero or the shape where that is expected.
Status check_stored(const Source& source, const Target& target, const Piece& piece);

// Writes what the target's spans keep of a piece that was checked.
void copy_stored(const Source& source, const Target& target, const Piece& piece, std::byte* slot);

}  // namespace liveweight
