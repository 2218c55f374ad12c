#include "glue.h"

#include <string.h>

#include "_cgo_export.h"

/* Go is entered once for the outcomes that come together, or for so many of them. */
enum { OUTCOMES_MAX = 256 };
static _Thread_local rgo_outcome outcomes[OUTCOMES_MAX];
static _Thread_local size_t outcomes_len;

static void hand_over(void *unused) {
  (void)unused;
  size_t len = outcomes_len;
  if (len == 0) return;
  outcomes_len = 0;
  rstmdbGoDone(outcomes, len);
  for (size_t i = 0; i < len; i++) {
    rstmdb_buffer_free(outcomes[i].result);
    rstmdb_error_free(outcomes[i].error);
  }
}

static void done(void *user_data, int32_t status, rstmdb_buffer result, rstmdb_error *error) {
  if (outcomes_len == OUTCOMES_MAX) hand_over(NULL);
  outcomes[outcomes_len++] = (rgo_outcome){(uintptr_t)user_data, status, result, error};
  if (outcomes_len == 1 && !rstmdb_after_callbacks(hand_over, NULL)) hand_over(NULL);
}

static void on_log(void *user_data, int32_t level, rstmdb_slice target, rstmdb_slice message) {
  (void)user_data;
  rstmdbGoLog(level, target, message);
}

static rstmdb_slice slice(const uint8_t *data, size_t len) {
  rstmdb_slice slice = {data, len};
  return slice;
}

static void clear(rgo_reply *reply) { memset(reply, 0, sizeof *reply); }

void rgo_submit(const rstmdb_db *db, int32_t operation, const uint8_t *request, size_t request_len,
                uintptr_t handle, uint8_t *memory, size_t memory_len, rgo_reply *reply) {
  clear(reply);
  reply->status = rstmdb_submit(db, operation, slice(request, request_len), done, (void *)handle,
                                &reply->request_id, &reply->result, &reply->error);
  reply->len = reply->result.len;
  /* Copied here, the usual result costs one crossing instead of two. */
  if (reply->status == RSTMDB_OK && reply->result.len <= memory_len) {
    if (reply->len > 0) memcpy(memory, reply->result.data, reply->len);
    rstmdb_buffer_free(reply->result);
    memset(&reply->result, 0, sizeof reply->result);
  }
}

rstmdb_db *rgo_open_submit(const uint8_t *url, size_t url_len, const uint8_t *options,
                           size_t options_len, uintptr_t handle, rgo_reply *reply) {
  rstmdb_db *db = NULL;
  clear(reply);
  reply->status = rstmdb_open_submit(slice(url, url_len), slice(options, options_len), done,
                                     (void *)handle, &db, &reply->request_id, &reply->error);
  return db;
}

void rgo_close_submit(const rstmdb_db *db, uintptr_t handle, rgo_reply *reply) {
  clear(reply);
  reply->status = rstmdb_close_submit(db, done, (void *)handle, &reply->error);
}

rstmdb_watch *rgo_watch_submit(const rstmdb_db *db, int32_t operation, const uint8_t *request,
                               size_t request_len, uintptr_t handle, rgo_reply *reply) {
  rstmdb_watch *watch = NULL;
  clear(reply);
  reply->status = rstmdb_watch_submit(db, operation, slice(request, request_len), done,
                                      (void *)handle, &watch, &reply->request_id, &reply->result,
                                      &reply->error);
  reply->len = reply->result.len;
  return watch;
}

void rgo_watch_next_submit(const rstmdb_watch *watch, uint32_t events_max, uintptr_t handle,
                           rgo_reply *reply) {
  clear(reply);
  reply->status = rstmdb_watch_next_submit(watch, events_max, done, (void *)handle,
                                           &reply->request_id, &reply->result, &reply->error);
  reply->len = reply->result.len;
}

void rgo_set_log(int32_t level, rgo_reply *reply) {
  clear(reply);
  reply->status = rstmdb_set_log(level, level > 0 ? on_log : NULL, NULL, &reply->error);
}
