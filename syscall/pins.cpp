#include "syscall/pins.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/limits.h>

#include <cerrno>
#include <filesystem>

#include "syscall/command.hpp"

namespace skep::sys {
namespace {

namespace fs = std::filesystem;

// The folder of BPF_F_PATH_FD.
Result<fs::path> folder_of(uint32_t descriptor) {
  if (fcntl(static_cast<int>(descriptor), F_GETFD) < 0) return fail(EBADF, "path_fd is not open");
  std::error_code error;
  auto folder = fs::read_symlink(fmt::format("/proc/self/fd/{}", descriptor), error);
  if (error || !folder.is_absolute()) return fail(ENOTDIR, "path_fd is no folder");
  return folder;
}

// The path of BPF_OBJ_PIN and BPF_OBJ_GET.
Result<std::string> pathname(Call& call) {
  const uint32_t path_fd = call.attributes.word(kPathFd);
  const bool relative = (call.attr().file_flags & kFlagPathFd) != 0;
  const auto text = call.memory.read_string(call.attr().pathname, PATH_MAX);
  if (!text) return fail(EFAULT, "the path cannot be read");
  if (text->size() == PATH_MAX) return fail(ENAMETOOLONG, "the path is too long");
  if (text->empty()) return fail(ENOENT, "the path is empty");
  if (!relative || text->front() == '/') return absolute_path(*text);
  const auto folder = folder_of(path_fd);
  if (!folder) return std::unexpected(folder.error());
  return absolute_path((*folder / *text).native());
}

}  // namespace

std::string absolute_path(std::string_view path) {
  std::error_code error;
  fs::path full(path);
  if (full.is_relative()) full = fs::current_path(error) / full;
  full = full.lexically_normal();
  if (!full.has_filename() && full.has_relative_path()) full = full.parent_path();  // a slash at the end
  return full.native();
}

// Every folder will do, and none has to be made: pins are the machine's own and no files. Names with dots are
// refused as bpffs refuses them.
long object_pin(Call& call) {
  const bpf_attr& attr = call.attr();
  if ((attr.file_flags & ~kFlagPathFd) != 0) return -EINVAL;
  if ((attr.file_flags & kFlagPathFd) == 0 && call.attributes.word(kPathFd) != 0) return -EINVAL;
  const auto found = call.objects.at(static_cast<int>(attr.bpf_fd));
  if (!found) return -EINVAL;
  const Kind kind = found->object->kind;
  if (kind != Kind::kMap && kind != Kind::kProgram && kind != Kind::kLink) return -EINVAL;
  const auto path = pathname(call);
  if (!path) return code_of(path.error());
  if (fs::path(*path).filename().native().find('.') != std::string::npos) return -EPERM;
  const auto done = call.objects.pin(*path, found->object);
  return done ? 0 : code_of(done.error());
}

long object_get(Call& call) {
  const bpf_attr& attr = call.attr();
  if (attr.bpf_fd != 0) return -EINVAL;
  if ((attr.file_flags & ~(BPF_F_RDONLY | BPF_F_WRONLY | kFlagPathFd)) != 0) return -EINVAL;
  if ((attr.file_flags & kFlagPathFd) == 0 && call.attributes.word(kPathFd) != 0) return -EINVAL;
  const auto access = access_of_flags(attr.file_flags);
  if (!access) return code_of(access.error());
  const auto path = pathname(call);
  if (!path) return code_of(path.error());
  const auto object = call.objects.pinned(*path);
  if (!object) return -ENOENT;
  if (object->kind == Kind::kLink && (!access->read || !access->write)) return -EINVAL;
  return call.objects.open(object, object->kind == Kind::kMap ? *access : Access{});
}

}  // namespace skep::sys
