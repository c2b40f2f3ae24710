// The Internet checksum (RFC 1071) of a block of memory, as a plain function: no context, no maps, no
// helpers.

#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// Returns the checksum as it is written in a header, read as a big-endian number.
SEC("raw")
unsigned long checksum(void* memory, unsigned long length) {
  const __u8* bytes = memory;
  unsigned long sum = 0;
  for (unsigned long i = 0; i + 1 < length; i += 2) sum += ((unsigned long)bytes[i] << 8) + bytes[i + 1];
  if (length & 1) sum += (unsigned long)bytes[length - 1] << 8;
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

char LICENSE[] SEC("license") = "GPL";
