// Carrying a piece of a checkpoint tensor into a slot.
#pragma once

#include "live/piece.h"
#include "live/plan_tables.h"
#include "quantize/quantize.h"

namespace liveweight {

// What the quantizer or the search of a maximum found at an element of the tensor.
Error fault_error(const Source& source, const QuantizeFault& fault);

// Writes what `target` keeps of `piece`, whose edges are edges of the target's units. Errors name the tensor
// and the element. Allocates nothing where all is well.
Status apply_piece(const Plan::Implementation& plan, const Source& source, const Target& target,
                   const Piece& piece, std::byte* slot, const TensorUnit& unit);

// The absolute maximum of a piece of high-precision elements, or the error of the first that is not finite.
Result<float> piece_maximum(const Source& source, const Piece& piece);

// Checks what apply_piece would refuse, without writing anywhere.
Status check_piece(const Plan::Implementation& plan, const Source& source, const Target& target,
                   const Piece& piece);

}  // namespace liveweight
