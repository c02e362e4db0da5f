/*
 * The guest's half of a deep attestation (SPEC 4.4), asked for over the serial console:
 *
 *   keys                          prints `keys ek=<hex> ak=<hex>`: public areas (TPMT_PUBLIC) of the endorsement key that swtpm_setup
 *                                 made, and of an attestation key: always the same, a primary of the endorsement hierarchy
 *   quote <nonce> <credential>    activates the credential (TPM2B_ID_OBJECT, TPM2B_ENCRYPTED_SECRET) and prints `quote attest=<hex>
 *                                 signature=<hex>`: PCR 11, over SHA-256(nonce || secret); or `quote ERROR <response code>`
 *   certificate <index>           prints `certificate <index>=<hex>`: what lies in this NV index (eight hexadecimal digits), read with its own authorization
 */
#include "quote.h"

#include <fcntl.h>
#include <stdio.h>
#include <termios.h>

#include "tpm-wire.h"

#define TPM_CC_ACTIVATE_CREDENTIAL 0x147
#define TPM_CC_NV_READ 0x14e
#define TPM_CC_POLICY_SECRET 0x151
#define TPM_CC_QUOTE 0x158
#define TPM_CC_NV_READ_PUBLIC 0x169
#define TPM_CC_READ_PUBLIC 0x173
#define TPM_CC_START_AUTH_SESSION 0x176
#define TPM_RH_NULL 0x40000007
#define TPM_RH_ENDORSEMENT 0x4000000b
#define TPM_ALG_NULL 0x0010
#define EK_HANDLE 0x81010001u
#define NONCE_BYTES 32
#define NV_CHUNK 512
#define CERTIFICATE_BYTES_MAX 2048

static void print_bytes(const char *name, const uint8_t *bytes, size_t count) {
  printf("%s", name);
  for (size_t i = 0; i < count; i++) printf("%02x", bytes[i]);
}

/* Bytes of hexadecimal text up to a space or the end; 0 where it is none, or too long. `*text` goes behind it. */
static size_t read_hex(const char **text, uint8_t *out, size_t max) {
  size_t count = 0;
  unsigned byte;
  while (**text == ' ') ++*text;
  while (count < max && sscanf(*text, "%2x", &byte) == 1 && (*text)[0] > ' ' && (*text)[1] > ' ') {
    out[count++] = (uint8_t)byte;
    *text += 2;
  }
  return **text > ' ' ? 0 : count;
}

static uint32_t flush_context(uint32_t handle) {
  struct wire w;
  begin(&w, TPM_ST_NO_SESSIONS, TPM_CC_FLUSH_CONTEXT);
  put(&w, handle, 4);
  return transact(&w);
}

static uint32_t attestation_key(uint32_t *handle) {
  static const uint8_t template[] = {
      0x00, 0x23, 0x00, 0x0b, 0x00, 0x05, 0x04, 0x72, /* ECC, SHA-256, fixed, restricted, sign, userWithAuth, noDA */
      0x00, 0x00,                                     /* no policy */
      0x00, 0x10, 0x00, 0x18, 0x00, 0x0b,             /* no symmetric algorithm, ECDSA with SHA-256 */
      0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00  /* P-256, no KDF */
  };
  struct wire w;
  uint32_t rc;
  begin(&w, TPM_ST_SESSIONS, TPM_CC_CREATE_PRIMARY);
  put(&w, TPM_RH_ENDORSEMENT, 4);
  put_password(&w);
  put(&w, 4, 2); /* empty auth, no data */
  put(&w, 0, 4);
  put(&w, sizeof template, 2);
  put_bytes(&w, template, sizeof template);
  put(&w, 0, 2);
  put(&w, 0, 4);
  if ((rc = transact(&w)) != 0) return rc;
  *handle = get(&w, 4);
  return wire_ok(&w) ? 0 : RC_DEVICE;
}

static uint32_t print_public(const char *name, uint32_t handle) {
  struct wire w;
  uint32_t rc;
  size_t size;
  begin(&w, TPM_ST_NO_SESSIONS, TPM_CC_READ_PUBLIC);
  put(&w, handle, 4);
  if ((rc = transact(&w)) != 0) return rc;
  size = get(&w, 2);
  if (w.at + size > w.end) return RC_DEVICE;
  print_bytes(name, w.bytes + w.at, size);
  return 0;
}

/* A policy session that lets the endorsement key be used: PolicySecret with the endorsement hierarchy (EK Credential Profile, PolicyA). */
static uint32_t endorsement_session(uint32_t *session) {
  static const uint8_t nonce[16] = {0};
  struct wire w;
  uint32_t rc;
  begin(&w, TPM_ST_NO_SESSIONS, TPM_CC_START_AUTH_SESSION);
  put(&w, TPM_RH_NULL, 4);
  put(&w, TPM_RH_NULL, 4);
  put(&w, sizeof nonce, 2);
  put_bytes(&w, nonce, sizeof nonce);
  put(&w, 0, 2); /* no salt */
  put(&w, 1, 1); /* TPM_SE_POLICY */
  put(&w, TPM_ALG_NULL, 2);
  put(&w, TPM_ALG_SHA256, 2);
  if ((rc = transact(&w)) != 0) return rc;
  *session = get(&w, 4);
  begin(&w, TPM_ST_SESSIONS, TPM_CC_POLICY_SECRET);
  put(&w, TPM_RH_ENDORSEMENT, 4);
  put(&w, *session, 4);
  put_password(&w);
  put(&w, 0, 6); /* no nonce, cpHash, policyRef */
  put(&w, 0, 4); /* does not expire */
  return transact(&w);
}

static uint32_t activate(uint32_t ak, const uint8_t *credential, size_t count, uint8_t secret[DIGEST_BYTES]) {
  struct wire w;
  uint32_t rc, session;
  if ((rc = endorsement_session(&session)) != 0) return rc;
  begin(&w, TPM_ST_SESSIONS, TPM_CC_ACTIVATE_CREDENTIAL);
  put(&w, ak, 4);
  put(&w, EK_HANDLE, 4);
  put(&w, 18, 4); /* an empty password for the one, the session for the other */
  put(&w, TPM_RS_PW, 4);
  put(&w, 0, 5);
  put(&w, session, 4);
  put(&w, 0, 5);
  put_bytes(&w, credential, count);
  if ((rc = transact(&w)) != 0) {
    flush_context(session);
    return rc;
  }
  get(&w, 4);
  if (get(&w, 2) != DIGEST_BYTES || w.at + DIGEST_BYTES > w.end) return RC_DEVICE;
  memcpy(secret, w.bytes + w.at, DIGEST_BYTES);
  return 0;
}

static uint32_t print_quote(uint32_t ak, const uint8_t qualifying_data[DIGEST_BYTES]) {
  struct wire w;
  uint32_t rc;
  size_t parameters, size, end;
  begin(&w, TPM_ST_SESSIONS, TPM_CC_QUOTE);
  put(&w, ak, 4);
  put_password(&w);
  put(&w, DIGEST_BYTES, 2);
  put_bytes(&w, qualifying_data, DIGEST_BYTES);
  put(&w, TPM_ALG_NULL, 2); /* the key's own scheme */
  put(&w, 1, 4);
  put(&w, TPM_ALG_SHA256, 2);
  put(&w, 3, 1);
  put(&w, 0, 1);
  put(&w, 1 << (PCR_INDEX - 8), 1);
  put(&w, 0, 1);
  if ((rc = transact(&w)) != 0) return rc;
  parameters = get(&w, 4);
  end = w.at + parameters;
  size = get(&w, 2);
  if (end > w.end || w.at + size > end) return RC_DEVICE;
  print_bytes("quote attest=", w.bytes + w.at, size);
  print_bytes(" signature=", w.bytes + w.at + size, end - w.at - size);
  printf("\n");
  return 0;
}

static uint32_t quote(uint32_t ak, const char *text) {
  uint8_t credential[1024], hashed[NONCE_BYTES + DIGEST_BYTES], qualifying_data[DIGEST_BYTES];
  uint32_t rc;
  size_t count;
  if (read_hex(&text, hashed, NONCE_BYTES) != NONCE_BYTES) return RC_DEVICE;
  if ((count = read_hex(&text, credential, sizeof credential)) == 0) return RC_DEVICE;
  if ((rc = activate(ak, credential, count, hashed + NONCE_BYTES)) != 0) return rc;
  sha256_short(hashed, sizeof hashed, qualifying_data);
  return print_quote(ak, qualifying_data);
}

static uint32_t nv_size(uint32_t index, size_t *size) {
  struct wire w;
  uint32_t rc;
  begin(&w, TPM_ST_NO_SESSIONS, TPM_CC_NV_READ_PUBLIC);
  put(&w, index, 4);
  if ((rc = transact(&w)) != 0) return rc;
  w.at += 2 + 4 + 2 + 4; /* size, index, name algorithm, attributes */
  w.at += get(&w, 2);    /* policy */
  *size = get(&w, 2);
  return wire_ok(&w) && *size <= CERTIFICATE_BYTES_MAX ? 0 : RC_DEVICE;
}

static uint32_t nv_read(uint32_t index, uint8_t *out, size_t size) {
  struct wire w;
  uint32_t rc;
  size_t done, count;
  for (done = 0; done < size; done += count) {
    count = size - done < NV_CHUNK ? size - done : NV_CHUNK;
    begin(&w, TPM_ST_SESSIONS, TPM_CC_NV_READ);
    put(&w, index, 4);
    put(&w, index, 4);
    put_password(&w);
    put(&w, count, 2);
    put(&w, done, 2);
    if ((rc = transact(&w)) != 0) return rc;
    get(&w, 4);
    if (get(&w, 2) != count || w.at + count > w.end) return RC_DEVICE;
    memcpy(out + done, w.bytes + w.at, count);
  }
  return 0;
}

static void answer_certificate(const char *text) {
  static uint8_t certificate[CERTIFICATE_BYTES_MAX];
  unsigned index = 0;
  size_t size = 0;
  uint32_t rc = sscanf(text, "%8x", &index) == 1 ? nv_size(index, &size) : RC_DEVICE;
  if (rc == 0) rc = nv_read(index, certificate, size);
  if (rc != 0) {
    printf("certificate ERROR 0x%x\n", rc);
    return;
  }
  printf("certificate %08x", index);
  print_bytes("=", certificate, size);
  printf("\n");
}

static void answer(const char *line) {
  const int asks_keys = strcmp(line, "keys") == 0;
  uint32_t rc, ak;
  if (strncmp(line, "certificate ", 12) == 0) {
    answer_certificate(line + 12);
    return;
  }
  if (!asks_keys && strncmp(line, "quote ", 6) != 0) return;
  rc = attestation_key(&ak);
  if (rc == 0) {
    if (!asks_keys) {
      rc = quote(ak, line + 6);
    } else if ((rc = print_public("keys ek=", EK_HANDLE)) == 0 && (rc = print_public(" ak=", ak)) == 0) {
      printf("\n");
    }
    flush_context(ak);
  }
  if (rc != 0) printf("%s ERROR 0x%x\n", asks_keys ? "keys" : "quote", rc);
}

void serve_quotes(void) {
  static int input = -1;
  char line[4096];
  ssize_t got;
  if (input < 0) {
    struct termios settings;
    input = open("/dev/ttyS0", O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (input >= 0 && tcgetattr(input, &settings) == 0) {
      settings.c_lflag = (settings.c_lflag & ~(tcflag_t)(ECHO | ISIG)) | ICANON;
      tcsetattr(input, TCSANOW, &settings);
    }
    return;
  }
  got = read(input, line, sizeof line - 1);
  if (got <= 0) return;
  while (got > 0 && (line[got - 1] == '\n' || line[got - 1] == '\r')) got--;
  line[got] = 0;
  answer(line);
}
