#include "bench/anchors/ck_anchor.h"

#include <ck_ht.h>
#include <ck_ring.h>
#include <ck_spinlock.h>
#include <stdlib.h>

struct ck_anchor {
  ck_ht_t table;
  ck_spinlock_t lock;
  ck_ring_t ring;
  ck_ring_buffer_t* slots;
};

static void* allocate(size_t bytes) { return malloc(bytes); }
static void release(void* memory, size_t bytes, bool later) {
  (void)bytes;
  (void)later;
  free(memory);
}
static struct ck_malloc allocator = {.malloc = allocate, .free = release};

static void no_hash(ck_ht_hash_t* out, const void* key, size_t length, uint64_t seed) {
  (void)key;
  (void)length;
  (void)seed;
  out->value = 0;
}

// 0 stands for no key.
static uintptr_t word(uint32_t key) { return (uintptr_t)key + 1; }

struct ck_anchor* ck_anchor_create(uint32_t entries) {
  struct ck_anchor* anchor = calloc(1, sizeof *anchor);
  if (!anchor) return NULL;
  anchor->slots = calloc(entries, sizeof *anchor->slots);
  // Twice as many slots as keys, which it is made for.
  if (!anchor->slots || !ck_ht_init(&anchor->table, CK_HT_MODE_DIRECT | CK_HT_WORKLOAD_DELETE, no_hash,
                                    &allocator, (CK_HT_TYPE)2 * entries, 0)) {
    free(anchor->slots);
    free(anchor);
    return NULL;
  }
  ck_spinlock_init(&anchor->lock);
  ck_ring_init(&anchor->ring, entries);
  return anchor;
}

void ck_anchor_destroy(struct ck_anchor* anchor) {
  ck_ht_destroy(&anchor->table);
  free(anchor->slots);
  free(anchor);
}

bool ck_anchor_get(struct ck_anchor* anchor, uint32_t key, uint32_t hash, uint64_t* value) {
  ck_ht_entry_t entry;
  ck_ht_entry_key_set_direct(&entry, word(key));
  if (!ck_ht_get_spmc(&anchor->table, (ck_ht_hash_t){.value = hash}, &entry)) return false;
  *value = ck_ht_entry_value_direct(&entry);
  return true;
}

bool ck_anchor_set(struct ck_anchor* anchor, uint32_t key, uint32_t hash, uint64_t value) {
  const ck_ht_hash_t hashed = {.value = hash};
  ck_ht_entry_t entry;
  ck_ht_entry_set_direct(&entry, hashed, word(key), value);
  ck_spinlock_lock(&anchor->lock);
  const bool done = ck_ht_set_spmc(&anchor->table, hashed, &entry);
  ck_spinlock_unlock(&anchor->lock);
  return done;
}

void ck_anchor_remove(struct ck_anchor* anchor, uint32_t key, uint32_t hash) {
  ck_ht_entry_t entry;
  ck_ht_entry_key_set_direct(&entry, word(key));
  ck_spinlock_lock(&anchor->lock);
  ck_ht_remove_spmc(&anchor->table, (ck_ht_hash_t){.value = hash}, &entry);
  ck_spinlock_unlock(&anchor->lock);
}

bool ck_anchor_push_pop(struct ck_anchor* anchor, uint64_t value) {
  void* pointer = (void*)(uintptr_t)value;
  return ck_ring_enqueue_mpmc(&anchor->ring, anchor->slots, pointer) &&
         ck_ring_dequeue_mpmc(&anchor->ring, anchor->slots, &pointer);
}
