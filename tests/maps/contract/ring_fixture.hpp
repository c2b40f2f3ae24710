#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include "loader/libbpf_binding.hpp"
#include "tests/syscall/bpf_fixture.hpp"

namespace skep::test {

// An object of BPF programs in a kernel: the machine's, by a libbpf that is bound to it, or the host's.
class RingContract : public Contract {
 protected:
  static constexpr size_t kPage = 4096;
  static constexpr size_t kSize = 4096;

  struct Close {
    void operator()(bpf_object* object) const { bpf_object__close(object); }
  };

  void SetUp() override {
    Contract::SetUp();
    if (IsSkipped()) return;
    if (machine_) binding_.emplace(*machine_);
    object_.reset(bpf_object__open(SKEP_BPF_DIR "/rings.bpf.o"));
    ASSERT_TRUE(object_);
    ASSERT_EQ(bpf_object__load(object_.get()), 0) << (binding_ ? binding_->messages() : "");
    globals_ = bpf_object__find_map_by_name(object_.get(), ".bss");
    ASSERT_NE(globals_, nullptr);
  }

  int map(const char* name) const { return bpf_object__find_map_fd_by_name(object_.get(), name); }

  // A global variable of the object's, read and written by the element of .bss.
  template <class T>
  T get(const char* name) {
    std::vector<std::byte> all(bpf_map__value_size(globals_));
    const uint32_t key = 0;
    EXPECT_EQ(bpf_map_lookup_elem(bpf_map__fd(globals_), &key, all.data()), 0);
    T out{};
    std::memcpy(&out, all.data() + offset(name), sizeof out);
    return out;
  }
  template <class T>
  void set(const char* name, const T& value) {
    std::vector<std::byte> all(bpf_map__value_size(globals_));
    const uint32_t key = 0;
    EXPECT_EQ(bpf_map_lookup_elem(bpf_map__fd(globals_), &key, all.data()), 0);
    std::memcpy(all.data() + offset(name), &value, sizeof value);
    EXPECT_EQ(bpf_map_update_elem(bpf_map__fd(globals_), &key, all.data(), BPF_ANY), 0);
  }
  void set_number(const char* name, uint64_t number) { set(name, number); }

  // Runs a program once; `result` of it.
  int64_t run(const char* program) {
    std::array<std::byte, 64> packet{};
    bpf_test_run_opts options{};
    options.sz = sizeof options;
    options.data_in = packet.data();
    options.data_size_in = packet.size();
    const bpf_program* found = bpf_object__find_program_by_name(object_.get(), program);
    EXPECT_NE(found, nullptr) << program;
    EXPECT_EQ(bpf_prog_test_run_opts(bpf_program__fd(found), &options), 0) << program;
    EXPECT_EQ(options.retval, 0U) << program;
    return get<int64_t>("result");
  }

  std::optional<loader::LibbpfBinding> binding_;
  std::unique_ptr<bpf_object, Close> object_;
  bpf_map* globals_ = nullptr;

 private:
  // Where a variable is in .bss, as the object's BTF says.
  size_t offset(const char* name) const;
};

// The pages of a ring as user space maps them.
class RingPages {
 public:
  static constexpr size_t kPage = 4096;
  // `producer_writes`: of a ring that user space fills.
  RingPages(int map, size_t size, bool producer_writes)
      : size_(size),
        consumer_(
            mmap(nullptr, kPage, producer_writes ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, map, 0)),
        producer_(mmap(nullptr, kPage + 2 * size, producer_writes ? PROT_READ | PROT_WRITE : PROT_READ,
                       MAP_SHARED, map, kPage)) {}
  RingPages(const RingPages&) = delete;
  RingPages& operator=(const RingPages&) = delete;
  ~RingPages() {
    if (consumer_ != MAP_FAILED) munmap(consumer_, kPage);
    if (producer_ != MAP_FAILED) munmap(producer_, kPage + 2 * size_);
  }

  bool mapped() const { return consumer_ != MAP_FAILED && producer_ != MAP_FAILED; }
  volatile uint64_t& consumer() const { return *static_cast<uint64_t*>(consumer_); }
  volatile uint64_t& producer() const { return *static_cast<uint64_t*>(producer_); }
  std::byte* data() const { return static_cast<std::byte*>(producer_) + kPage; }
  template <class T>
  T at(uint64_t offset) const {
    T out;
    std::memcpy(&out, data() + offset, sizeof out);
    return out;
  }

 private:
  size_t size_;
  void* consumer_;
  void* producer_;
};

}  // namespace skep::test
