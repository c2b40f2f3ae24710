#pragma once

#include <stdbool.h>
#include <stdint.h>

// Concurrency Kit's headers are C, not C++: this is what the anchor needs of them.
#ifdef __cplusplus
extern "C" {
#endif

struct ck_anchor;

// A table for so many keys, and a ring for as many values. NULL: no memory.
struct ck_anchor* ck_anchor_create(uint32_t entries);
void ck_anchor_destroy(struct ck_anchor* anchor);
bool ck_anchor_get(struct ck_anchor* anchor, uint32_t key, uint32_t hash, uint64_t* value);
bool ck_anchor_set(struct ck_anchor* anchor, uint32_t key, uint32_t hash, uint64_t value);
void ck_anchor_remove(struct ck_anchor* anchor, uint32_t key, uint32_t hash);
bool ck_anchor_push_pop(struct ck_anchor* anchor, uint64_t value);

#ifdef __cplusplus
}
#endif
