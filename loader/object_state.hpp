#pragma once

#include <bpf/libbpf.h>

#include <memory>
#include <string>
#include <vector>

#include "isa/instruction.hpp"
#include "skep/machine.hpp"
#include "vm/machine.hpp"

namespace skep {

struct BpfObjectCloser {
  void operator()(bpf_object* object) const { bpf_object__close(object); }
};

// A descriptor that closes itself.
class OwnedDescriptor {
 public:
  OwnedDescriptor() = default;
  explicit OwnedDescriptor(int descriptor) : descriptor_(descriptor) {}
  OwnedDescriptor(const OwnedDescriptor&) = delete;
  OwnedDescriptor& operator=(const OwnedDescriptor&) = delete;
  ~OwnedDescriptor();

  int get() const { return descriptor_; }
  void reset(int descriptor);

 private:
  int descriptor_ = -1;
};

// What an Object and everything taken from it share.
struct ObjectState {
  std::shared_ptr<vm::Machine> machine;
  ObjectOptions options;
  std::string label;                                    // what messages call the object: its path
  std::vector<std::byte> image;                         // libbpf reads from it as long as the object is open
  std::unique_ptr<bpf_object, BpfObjectCloser> object;  // nullptr: bare instructions
  std::vector<isa::Encoded> bare;
  OwnedDescriptor bare_program;
  bool loaded = false;
};

namespace loader {

// Opens an image: ELF through libbpf, anything else of a multiple of 8 bytes as bare instructions.
Result<std::shared_ptr<ObjectState>> open_image(std::shared_ptr<vm::Machine> machine,
                                                std::vector<std::byte> image, std::string label,
                                                const ObjectOptions& options);
Result<void> load_object(ObjectState& state);

}  // namespace loader
}  // namespace skep
