// The functions of the C library that a program loaded with libskep-preload.so gets from here. Each passes on
// whatever is not about BPF.
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "syscall/bpf.hpp"
#include "syscall/errno_keeper.hpp"
#include "syscall/preload/session.hpp"

namespace {

using skep::preload::Session;

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

int fail_with(int code) {
  errno = code;
  return -1;
}

// The session that may have a file's text. No other file makes a machine.
Session* session_with_text(const char* path) {
  const skep::sys::ErrnoKeeper keeper;
  if (!path) return nullptr;
  const std::string_view name = path;
  if (name == skep::preload::kPossibleCpus) return std::getenv("SKEP_CPUS") ? Session::get() : nullptr;
  return name.starts_with(skep::preload::kDescriptorInfo) ? Session::existing() : nullptr;
}

// The session, where a path may be below one of its folders.
Session* session_of(const char* path) {
  const skep::sys::ErrnoKeeper keeper;
  if (!path) return nullptr;
  Session* session = Session::existing();
  if (!session && std::string_view(path).starts_with("/sys/fs/bpf")) session = Session::get();
  return session && session->holds(path) ? session : nullptr;
}

// A file with the machine's text; -1: the real file is to be opened.
int open_served(const char* path) {
  const skep::sys::ErrnoKeeper keeper;
  Session* session = session_with_text(path);
  const auto text = session ? session->file_text(path) : std::nullopt;
  if (!text) return -1;
  const int file = memfd_create("skep", MFD_CLOEXEC);
  if (file < 0) return -1;
  if (write(file, text->data(), text->size()) == static_cast<ssize_t>(text->size()) &&
      lseek(file, 0, SEEK_SET) == 0)
    return file;
  close(file);
  return -1;
}

mode_t mode_argument(int flags, va_list arguments) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
}

FILE* open_stream(const char* function, const char* path, const char* mode) {
  if (const int file = open_served(path); file >= 0) return fdopen(file, mode);
  return next<FILE*(const char*, const char*)>(function)(path, mode);
}

template <class Status>
int file_system(const char* function, const char* path, Status* status) {
  if (!session_of(path)) return next<int(const char*, Status*)>(function)(path, status);
  *status = {};
  status->f_type = BPF_FS_MAGIC;
  status->f_bsize = 4096;
  status->f_namelen = 255;
  return 0;
}

}  // namespace

#define SKEP_INTERPOSED extern "C" __attribute__((visibility("default")))

SKEP_INTERPOSED long syscall(long number, ...) {
  std::array<long, 6> a{};
  va_list arguments;
  va_start(arguments, number);
  for (long& argument : a) argument = va_arg(arguments, long);
  va_end(arguments);
  if (number == SYS_perf_event_open) {
    if (Session* session = Session::existing()) {
      const auto event =
          skep::sys::perf_event_open(session->machine(), reinterpret_cast<const perf_event_attr*>(a[0]),
                                     static_cast<int>(a[1]), static_cast<int>(a[2]), static_cast<int>(a[3]));
      if (event) return *event < 0 ? fail_with(-*event) : *event;
    }
  }
  if (number != SYS_bpf) {
    static auto* const real = next<long(long, ...)>("syscall");
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  }
  const int before = errno;
  Session* session = Session::get();
  if (!session) return fail_with(ENOSYS);
  errno = before;
  const long result = skep::sys::bpf(session->machine(), static_cast<int>(a[0]),
                                     reinterpret_cast<union bpf_attr*>(a[1]), static_cast<unsigned>(a[2]));
  return result < 0 ? fail_with(static_cast<int>(-result)) : result;
}

SKEP_INTERPOSED int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_argument(flags, arguments);
  va_end(arguments);
  if (const int file = open_served(path); file >= 0) return file;
  return next<int(const char*, int, ...)>("open")(path, flags, mode);
}

SKEP_INTERPOSED int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_argument(flags, arguments);
  va_end(arguments);
  if (const int file = open_served(path); file >= 0) return file;
  return next<int(const char*, int, ...)>("open64")(path, flags, mode);
}

SKEP_INTERPOSED int openat(int folder, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_argument(flags, arguments);
  va_end(arguments);
  if (const int file = open_served(path); file >= 0) return file;
  return next<int(int, const char*, int, ...)>("openat")(folder, path, flags, mode);
}

SKEP_INTERPOSED int openat64(int folder, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_argument(flags, arguments);
  va_end(arguments);
  if (const int file = open_served(path); file >= 0) return file;
  return next<int(int, const char*, int, ...)>("openat64")(folder, path, flags, mode);
}

SKEP_INTERPOSED FILE* fopen(const char* path, const char* mode) { return open_stream("fopen", path, mode); }
SKEP_INTERPOSED FILE* fopen64(const char* path, const char* mode) {
  return open_stream("fopen64", path, mode);
}

SKEP_INTERPOSED int statfs(const char* path, struct statfs* status) noexcept {
  return file_system("statfs", path, status);
}
SKEP_INTERPOSED int statfs64(const char* path, struct statfs64* status) noexcept {
  return file_system("statfs64", path, status);
}

// Pins are not files: their folders need not be made, only to be there for whoever makes them.
SKEP_INTERPOSED int mkdir(const char* path, mode_t mode) noexcept {
  Session* session = session_of(path);
  if (!session) return next<int(const char*, mode_t)>("mkdir")(path, mode);
  return session->make_folder(path) ? 0 : fail_with(EEXIST);
}

SKEP_INTERPOSED int unlink(const char* path) noexcept {
  Session* session = session_of(path);
  if (!session) return next<int(const char*)>("unlink")(path);
  return skep::sys::unpin(session->machine(), path) ? 0 : fail_with(ENOENT);
}

// Mounting a BPF file system makes a folder the machine's. bpftool first makes the folder a private mount,
// in just this way; since no mount follows that would be for nothing, and it takes root.
SKEP_INTERPOSED int mount(const char* source, const char* target, const char* type, unsigned long flags,
                          const void* data) noexcept {
  const std::string_view kind = type ? type : "";
  if (target && kind == "bpf") {
    const int before = errno;
    Session* session = Session::get();
    if (!session) return fail_with(ENODEV);
    session->mounted(target);
    errno = before;
    return 0;
  }
  const bool made_private =
      source && *source == '\0' && kind == "none" && flags == (MS_PRIVATE | MS_REC) && !data;
  if (target && made_private) return 0;
  return next<int(const char*, const char*, const char*, unsigned long, const void*)>("mount")(
      source, target, type, flags, data);
}

// Perf events are the machine's as far as programs write to them.
SKEP_INTERPOSED int ioctl(int descriptor, unsigned long request, ...) noexcept {
  static auto* const real = next<int(int, unsigned long, ...)>("ioctl");
  va_list arguments;
  va_start(arguments, request);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  if (Session* session = Session::existing())
    if (const auto result = skep::sys::perf_event_control(session->machine(), descriptor, request))
      return *result < 0 ? fail_with(-*result) : *result;
  return real(descriptor, request, argument);
}

SKEP_INTERPOSED void* mmap64(void* address, size_t length, int protection, int flags, int descriptor,
                             off64_t offset) noexcept {
  static auto* const real = next<void*(void*, size_t, int, int, int, off64_t)>("mmap64");
  Session* session = descriptor >= 0 ? Session::existing() : nullptr;
  if (const int bad =
          session ? skep::sys::before_mapping(session->machine(), descriptor, length, offset) : 0) {
    fail_with(-bad);
    return MAP_FAILED;
  }
  return real(address, length, protection, flags, descriptor, offset);
}

SKEP_INTERPOSED void* mmap(void* address, size_t length, int protection, int flags, int descriptor,
                           off_t offset) noexcept {
  return mmap64(address, length, protection, flags, descriptor, offset);
}

// The machine's ring buffers are waited for as the kernel's are.
SKEP_INTERPOSED int epoll_ctl(int epoll, int operation, int descriptor, struct epoll_event* event) noexcept {
  static auto* const real = next<int(int, int, int, struct epoll_event*)>("epoll_ctl");
  Session* session = Session::existing();
  if (!session) return real(epoll, operation, descriptor, event);
  const auto target = skep::sys::wait_target(session->machine(), descriptor);
  struct epoll_event narrowed = event ? *event : epoll_event{};
  narrowed.events &= ~target.foreign_events;
  return real(epoll, operation, target.descriptor, event ? &narrowed : nullptr);
}

SKEP_INTERPOSED int epoll_wait(int epoll, struct epoll_event* events, int room, int timeout) {
  static auto* const real = next<int(int, struct epoll_event*, int, int)>("epoll_wait");
  if (Session* session = Session::existing()) skep::sys::before_waiting(session->machine());
  return real(epoll, events, room, timeout);
}

SKEP_INTERPOSED int epoll_pwait(int epoll, struct epoll_event* events, int room, int timeout,
                                const sigset_t* signals) {
  static auto* const real = next<int(int, struct epoll_event*, int, int, const sigset_t*)>("epoll_pwait");
  if (Session* session = Session::existing()) skep::sys::before_waiting(session->machine());
  return real(epoll, events, room, timeout, signals);
}

SKEP_INTERPOSED int epoll_pwait2(int epoll, struct epoll_event* events, int room, const timespec* timeout,
                                 const sigset_t* signals) {
  static auto* const real =
      next<int(int, struct epoll_event*, int, const timespec*, const sigset_t*)>("epoll_pwait2");
  if (Session* session = Session::existing()) skep::sys::before_waiting(session->machine());
  return real(epoll, events, room, timeout, signals);
}
