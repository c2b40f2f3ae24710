#include "loader/libbpf_binding.hpp"

#include <bpf/libbpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <string_view>

#include "syscall/bpf.hpp"

namespace skep::loader {

// The one thread-local in skep: libbpf's functions take no argument by which a machine could reach its system
// calls.
static thread_local LibbpfBinding* current = nullptr;

struct BindingAccess {
  static vm::Machine* machine() { return current ? &current->machine_ : nullptr; }
  static void say(std::string_view line) {
    if (current) current->messages_ += line;
  }
};

namespace {

int print_message(libbpf_print_level level, const char* text, va_list arguments) {
  if (level == LIBBPF_DEBUG || level == LIBBPF_INFO) return 0;
  std::array<char, 8192> line{};
  const int length = std::vsnprintf(line.data(), line.size(), text, arguments);
  if (length < 0) return length;
  std::string_view shown(line.data());
  if (shown.starts_with("libbpf: ")) shown.remove_prefix(8);
  BindingAccess::say(shown);
  return length;
}

int possible_cpus_file(unsigned cpus) {
  const int file = memfd_create("possible", MFD_CLOEXEC);
  if (file < 0) return file;
  const std::string text = cpus == 1 ? "0\n" : fmt::format("0-{}\n", cpus - 1);
  if (write(file, text.data(), text.size()) < 0 || lseek(file, 0, SEEK_SET) < 0) {
    close(file);
    return -1;
  }
  return file;
}

// As the C library's functions answer.
long answer(long result) {
  if (result >= 0) return result;
  errno = static_cast<int>(-result);
  return -1;
}

}  // namespace

LibbpfBinding::LibbpfBinding(vm::Machine& machine) : machine_(machine), outer_(current) {
  static std::once_flag once;
  std::call_once(once, [] { libbpf_set_print(print_message); });
  current = this;
}

LibbpfBinding::~LibbpfBinding() { current = outer_; }

}  // namespace skep::loader

using skep::loader::answer;
using skep::loader::BindingAccess;

// What the copy of libbpf calls in place of the C library's functions; see SkepLibbpf.cmake.
extern "C" {

// Debian's libbpf.a is not compiled for shared libraries: the data it refers to has to be in the same one.
[[gnu::visibility("hidden")]] FILE* skep_libbpf_stderr = stderr;

long skep_libbpf_syscall(long number, ...);
int skep_libbpf_open64(const char* path, int flags, ...);
int skep_libbpf_ioctl(int descriptor, unsigned long request, ...);
void* skep_libbpf_mmap64(void* address, size_t length, int protection, int flags, int descriptor,
                         off64_t offset);
int skep_libbpf_statfs64(const char* path, struct statfs64* out);
int skep_libbpf_mkdir(const char* path, mode_t mode);
int skep_libbpf_unlink(const char* path);
int skep_libbpf_epoll_ctl(int epoll, int operation, int descriptor, struct epoll_event* event);
int skep_libbpf_epoll_wait(int epoll, struct epoll_event* events, int room, int timeout);

long skep_libbpf_syscall(long number, ...) {
  std::array<long, 6> a{};
  va_list arguments;
  va_start(arguments, number);
  for (long& argument : a) argument = va_arg(arguments, long);
  va_end(arguments);
  skep::vm::Machine* machine = BindingAccess::machine();
  if (number == SYS_perf_event_open && machine) {
    const auto event =
        skep::sys::perf_event_open(*machine, reinterpret_cast<const perf_event_attr*>(a[0]),
                                   static_cast<int>(a[1]), static_cast<int>(a[2]), static_cast<int>(a[3]));
    if (event) return answer(*event);
  }
  if (number != SYS_bpf || !machine) return ::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  const long result = skep::sys::bpf(*machine, static_cast<int>(a[0]),
                                     reinterpret_cast<union bpf_attr*>(a[1]), static_cast<unsigned>(a[2]));
  return answer(result);
}

int skep_libbpf_ioctl(int descriptor, unsigned long request, ...) {
  va_list arguments;
  va_start(arguments, request);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  if (skep::vm::Machine* machine = BindingAccess::machine())
    if (const auto result = skep::sys::perf_event_control(*machine, descriptor, request))
      return static_cast<int>(answer(*result));
  return ::ioctl(descriptor, request, argument);
}

void* skep_libbpf_mmap64(void* address, size_t length, int protection, int flags, int descriptor,
                         off64_t offset) {
  if (skep::vm::Machine* machine = BindingAccess::machine())
    if (const int bad = skep::sys::before_mapping(*machine, descriptor, length, offset)) {
      errno = -bad;
      return MAP_FAILED;
    }
  return ::mmap64(address, length, protection, flags, descriptor, offset);
}

int skep_libbpf_open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  skep::vm::Machine* machine = BindingAccess::machine();
  if (machine && (std::strcmp(path, "/sys/devices/system/cpu/possible") == 0 ||
                  std::strcmp(path, "/sys/devices/system/cpu/online") == 0))
    return skep::loader::possible_cpus_file(machine->cpus());
  return ::open64(path, flags, mode);
}

// Pins live in the machine: every folder will do, and none is made.
int skep_libbpf_statfs64(const char* path, struct statfs64* out) {
  if (!BindingAccess::machine()) return ::statfs64(path, out);
  *out = {};
  out->f_type = BPF_FS_MAGIC;
  return 0;
}

int skep_libbpf_mkdir(const char* path, mode_t mode) {
  return BindingAccess::machine() ? 0 : ::mkdir(path, mode);
}

int skep_libbpf_unlink(const char* path) {
  skep::vm::Machine* machine = BindingAccess::machine();
  if (!machine) return ::unlink(path);
  if (skep::sys::unpin(*machine, path)) return 0;
  errno = ENOENT;
  return -1;
}

int skep_libbpf_epoll_ctl(int epoll, int operation, int descriptor, struct epoll_event* event) {
  skep::vm::Machine* machine = BindingAccess::machine();
  if (!machine) return ::epoll_ctl(epoll, operation, descriptor, event);
  const auto target = skep::sys::wait_target(*machine, descriptor);
  struct epoll_event narrowed = event ? *event : epoll_event{};
  narrowed.events &= ~target.foreign_events;
  return ::epoll_ctl(epoll, operation, target.descriptor, event ? &narrowed : nullptr);
}

int skep_libbpf_epoll_wait(int epoll, struct epoll_event* events, int room, int timeout) {
  if (skep::vm::Machine* machine = BindingAccess::machine()) skep::sys::before_waiting(*machine);
  return ::epoll_wait(epoll, events, room, timeout);
}

}  // extern "C"
