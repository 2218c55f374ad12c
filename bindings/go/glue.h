/* What cgo can't do itself: callbacks, and one call where the header needs two. */
#ifndef RSTMDB_GO_GLUE_H
#define RSTMDB_GO_GLUE_H

#include "rstmdb.h"

/* What a call left behind. A result that fits the caller's memory is there already. */
typedef struct rgo_reply {
  int32_t status;
  uint64_t request_id;
  size_t len;
  rstmdb_buffer result;
  rstmdb_error *error;
} rgo_reply;

/* The outcome of a request, for the mailbox of its handle. */
typedef struct rgo_outcome {
  uintptr_t handle;
  int32_t status;
  rstmdb_buffer result;
  rstmdb_error *error;
} rgo_outcome;

void rgo_submit(const rstmdb_db *db, int32_t operation, const uint8_t *request, size_t request_len,
                uintptr_t handle, uint8_t *memory, size_t memory_len, rgo_reply *reply);
rstmdb_db *rgo_open_submit(const uint8_t *url, size_t url_len, const uint8_t *options,
                           size_t options_len, uintptr_t handle, rgo_reply *reply);
void rgo_close_submit(const rstmdb_db *db, uintptr_t handle, rgo_reply *reply);
rstmdb_watch *rgo_watch_submit(const rstmdb_db *db, int32_t operation, const uint8_t *request,
                               size_t request_len, uintptr_t handle, rgo_reply *reply);
void rgo_watch_next_submit(const rstmdb_watch *watch, uint32_t events_max, uintptr_t handle,
                           rgo_reply *reply);
void rgo_set_log(int32_t level, rgo_reply *reply);

#endif
