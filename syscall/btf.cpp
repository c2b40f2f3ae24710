#include <cerrno>
#include <cstddef>

#include "syscall/command.hpp"
#include "syscall/load_log.hpp"
#include "syscall/value_fields.hpp"

namespace skep::sys {

long btf_load(Call& call) {
  const bpf_attr& attr = call.attr();
  const uint32_t flags = call.attributes.word(kBtfFlags);
  if ((flags & ~kFlagTokenFd) != 0) return -EINVAL;
  if ((flags & kFlagTokenFd) != 0) return no_token(call.attributes.word(kBtfTokenFd));
  if (attr.btf_size > kMaxBtfSize) return -E2BIG;
  LoadLog log(attr.btf_log_level, attr.btf_log_buf, attr.btf_log_size);
  if (!log.valid()) return -EINVAL;

  std::vector<std::byte> raw(attr.btf_size);
  if (!call.memory.read(raw.data(), attr.btf, raw.size())) return -EFAULT;
  auto image = BtfImage::parse(std::move(raw));
  if (image)
    if (auto good = check_struct_fields(*image); !good) image = std::unexpected(good.error());
  if (!image) log.add(image.error().message + '\n');
  long result = image ? 0 : code_of(image.error());
  if (const long bad = log.finish(call.memory)) result = bad;
  if (call.size >= kBtfLogTrueSize + sizeof(uint32_t) && !call.answer(kBtfLogTrueSize, log.true_size()))
    result = -EFAULT;
  if (result != 0) return result;
  const auto object = std::make_shared<BtfObject>(std::move(*image));
  object->id = call.objects.next_id(Kind::kBtf);
  call.objects.add(object);
  // The kernel's are O_RDONLY too, which nothing asks after.
  return call.objects.open(object, {});
}

}  // namespace skep::sys
