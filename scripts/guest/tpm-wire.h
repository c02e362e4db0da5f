/*
 * TPM 2.0 commands to /dev/tpm0 as wire bytes (TCG TPM 2.0 Library, parts 2 and 3): what the parts of the lab guest's program share.
 */
#ifndef TVMMP_GUEST_TPM_WIRE_H
#define TVMMP_GUEST_TPM_WIRE_H

#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define TPM_ST_NO_SESSIONS 0x8001
#define TPM_ST_SESSIONS 0x8002
#define TPM_CC_EVICT_CONTROL 0x120
#define TPM_CC_CREATE_PRIMARY 0x131
#define TPM_CC_CREATE 0x153
#define TPM_CC_LOAD 0x157
#define TPM_CC_UNSEAL 0x15e
#define TPM_CC_FLUSH_CONTEXT 0x165
#define TPM_CC_GET_RANDOM 0x17b
#define TPM_CC_PCR_READ 0x17e
#define TPM_CC_PCR_EXTEND 0x182
#define TPM_RH_OWNER 0x40000001
#define TPM_RS_PW 0x40000009
#define TPM_ALG_SHA256 0x000b
#define SEALED_HANDLE 0x81010011u
#define PCR_INDEX 11
#define DIGEST_BYTES 32
/* No TPM response code: this program's own, for a device that fails or answers out of form. */
#define RC_DEVICE 0xffffffffu

extern int tpm_fd;

/* A command being built, or a response being read; `at` is where the next byte goes or comes from. */
struct wire {
  uint8_t bytes[4096];
  size_t at, end;
};

static inline void put(struct wire *w, uint64_t value, int width) {
  while (width-- > 0) w->bytes[w->at++] = (uint8_t)(value >> (8 * width));
}

static inline void put_bytes(struct wire *w, const uint8_t *bytes, size_t count) {
  memcpy(w->bytes + w->at, bytes, count);
  w->at += count;
}

/* Reads past the end give zero and leave `at` beyond `end`, which callers check once with wire_ok(). */
static inline uint32_t get(struct wire *r, int width) {
  uint32_t value = 0;
  while (width-- > 0) {
    value = value << 8 | (r->at < r->end ? r->bytes[r->at] : 0);
    r->at++;
  }
  return value;
}

static inline int wire_ok(const struct wire *r) { return r->at <= r->end; }

static inline void begin(struct wire *w, uint16_t tag, uint32_t command) {
  w->at = 0;
  put(w, tag, 2);
  put(w, 0, 4);
  put(w, command, 4);
}

/* The authorization area: one empty-password session. */
static inline void put_password(struct wire *w) {
  put(w, 9, 4);
  put(w, TPM_RS_PW, 4);
  put(w, 0, 2);
  put(w, 0, 1);
  put(w, 0, 2);
}

/* Sends the command and reads the response into the same buffer, `at` past its header. Answers the response code. */
static inline uint32_t transact(struct wire *w) {
  ssize_t got;
  size_t size = w->at;
  w->at = 2;
  put(w, size, 4);
  if (write(tpm_fd, w->bytes, size) != (ssize_t)size) return RC_DEVICE;
  got = read(tpm_fd, w->bytes, sizeof w->bytes);
  if (got < 10) return RC_DEVICE;
  w->end = (size_t)got;
  w->at = 6;
  return get(w, 4);
}

/* SHA-256 of a message that fits in two blocks with its padding: at most 119 bytes. */
void sha256_short(const uint8_t *message, size_t size, uint8_t out[DIGEST_BYTES]);

#endif
