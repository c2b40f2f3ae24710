#include "vm/operation.hpp"

#include <iterator>

namespace skep::vm {
namespace {

template <class E>
constexpr uint8_t index(E value) {
  return static_cast<uint8_t>(value);
}

using isa::AluOp;
using isa::Condition;
using isa::Sign;
using isa::Source;

}  // namespace

constexpr FusedRow kFusedRows[] = {
#define SKEP_ALU3(name, alu, width, source) \
  {#name, Fused::kAlu3, width, index(AluOp::k##alu), Source::k##source},
#define SKEP_ADDRESS(name, width) {#name, Fused::kAddress, width, 0, Source::kReg},
#define SKEP_ROTATE(name, width) {#name, Fused::kRotate, width, 0, Source::kImm},
#define SKEP_DIVISION(name, alu, width) {#name, Fused::kDivision, width, index(AluOp::k##alu), Source::kImm},
#define SKEP_LOAD_INDEXED(name, width, sign) \
  {#name, Fused::kLoadIndexed, width, index(Sign::k##sign), Source::kReg},
#define SKEP_LOAD_SWAPPED(name, width) \
  {#name, Fused::kLoadSwapped, width, index(Sign::kUnsigned), Source::kReg},
#define SKEP_STORE_INDEXED(name, width, source) {#name, Fused::kStoreIndexed, width, 0, Source::k##source},
#define SKEP_STORE_SWAPPED(name, width) {#name, Fused::kStoreSwapped, width, 0, Source::kReg},
#define SKEP_JUMP_CLEAR(name, width, source) {#name, Fused::kJumpClear, width, 0, Source::k##source},
#define SKEP_SELECT_CLEAR(name, width, source) {#name, Fused::kSelectClear, width, 0, Source::k##source},
#define SKEP_SELECT(name, condition, width, source) \
  {#name, Fused::kSelect, width, index(Condition::k##condition), Source::k##source},
#include "vm/operations.def"
};

static_assert(std::size(kFusedRows) == kOperations - kIsaOperations);

}  // namespace skep::vm
