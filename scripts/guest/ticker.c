/*
 * The lab guest's only program: /init of its initramfs.
 *
 * It shows from inside a VM whether its vTPM came along unharmed. It speaks TPM 2.0 wire bytes (TCG TPM 2.0 Library,
 * part 3) to /dev/tpm0, with no library, and once a second prints to the serial console
 *
 *   tick N pcr=<hex> secret=<hex> ok t=<guest clock, ms>
 *
 * where pcr is PCR 11 (SHA-256 bank), freshly read, and secret the SHA-256 of a secret freshly unsealed. PCR 11 cannot be
 * reset, and is extended with a random value once per boot: it names this boot of this vTPM. The secret is random, sealed
 * under the owner's storage hierarchy at the first boot and kept in the TPM: it names the vTPM over reboots.
 * A TPM error prints `tick N ERROR <response code> t=<guest clock, ms>` and the ticking goes on.
 *
 * Between ticks it answers lines that come in over the serial console, for deep attestation: quote.c.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "quote.h"
#include "tpm-wire.h"

int tpm_fd = -1;

static uint32_t random_bytes(uint8_t out[DIGEST_BYTES]) {
  struct wire w;
  uint32_t rc;
  begin(&w, TPM_ST_NO_SESSIONS, TPM_CC_GET_RANDOM);
  put(&w, DIGEST_BYTES, 2);
  if ((rc = transact(&w)) != 0) return rc;
  if (get(&w, 2) != DIGEST_BYTES || w.at + DIGEST_BYTES > w.end) return RC_DEVICE;
  memcpy(out, w.bytes + w.at, DIGEST_BYTES);
  return 0;
}

static uint32_t pcr_extend(const uint8_t digest[DIGEST_BYTES]) {
  struct wire w;
  begin(&w, TPM_ST_SESSIONS, TPM_CC_PCR_EXTEND);
  put(&w, PCR_INDEX, 4);
  put_password(&w);
  put(&w, 1, 4);
  put(&w, TPM_ALG_SHA256, 2);
  put_bytes(&w, digest, DIGEST_BYTES);
  return transact(&w);
}

static uint32_t pcr_read(uint8_t out[DIGEST_BYTES]) {
  struct wire w;
  uint32_t rc;
  begin(&w, TPM_ST_NO_SESSIONS, TPM_CC_PCR_READ);
  put(&w, 1, 4);
  put(&w, TPM_ALG_SHA256, 2);
  put(&w, 3, 1);
  put(&w, 0, 1);
  put(&w, 1 << (PCR_INDEX - 8), 1);
  put(&w, 0, 1);
  if ((rc = transact(&w)) != 0) return rc;
  get(&w, 4);                       /* pcrUpdateCounter */
  if (get(&w, 4) != 1) return RC_DEVICE; /* one selection, of the form that was sent */
  w.at += 6;
  if (get(&w, 4) != 1 || get(&w, 2) != DIGEST_BYTES || w.at + DIGEST_BYTES > w.end) return RC_DEVICE;
  memcpy(out, w.bytes + w.at, DIGEST_BYTES);
  return 0;
}

/* The ECC P-256 storage primary of the owner hierarchy (TCG EK Credential Profile's SRK template). */
static uint32_t create_primary(uint32_t *handle) {
  static const uint8_t template[] = {
      0x00, 0x23, 0x00, 0x0b, 0x00, 0x03, 0x04, 0x72, /* ECC, SHA-256, fixed, restricted, decrypt, userWithAuth, noDA */
      0x00, 0x00,                                     /* no policy */
      0x00, 0x06, 0x00, 0x80, 0x00, 0x43,             /* AES-128-CFB */
      0x00, 0x10, 0x00, 0x03, 0x00, 0x10,             /* no scheme, P-256, no KDF */
      0x00, 0x00, 0x00, 0x00};
  struct wire w;
  uint32_t rc;
  begin(&w, TPM_ST_SESSIONS, TPM_CC_CREATE_PRIMARY);
  put(&w, TPM_RH_OWNER, 4);
  put_password(&w);
  put(&w, 4, 2); /* inSensitive: empty auth, no data */
  put(&w, 0, 4);
  put(&w, sizeof template, 2);
  put_bytes(&w, template, sizeof template);
  put(&w, 0, 2); /* outsideInfo */
  put(&w, 0, 4); /* creationPCR */
  if ((rc = transact(&w)) != 0) return rc;
  *handle = get(&w, 4);
  return wire_ok(&w) ? 0 : RC_DEVICE;
}

/* Seals `secret` under `parent` and loads the sealed object. */
static uint32_t seal(uint32_t parent, const uint8_t secret[DIGEST_BYTES], uint32_t *handle) {
  struct wire w, load;
  uint32_t rc;
  size_t blobs, bytes;
  begin(&w, TPM_ST_SESSIONS, TPM_CC_CREATE);
  put(&w, parent, 4);
  put_password(&w);
  put(&w, 4 + DIGEST_BYTES, 2);
  put(&w, 0, 2);
  put(&w, DIGEST_BYTES, 2);
  put_bytes(&w, secret, DIGEST_BYTES);
  put(&w, 14, 2);
  put(&w, 0x0008, 2); /* keyed hash */
  put(&w, TPM_ALG_SHA256, 2);
  put(&w, 0x00000452, 4); /* fixedTPM, fixedParent, userWithAuth, noDA */
  put(&w, 0, 2);
  put(&w, 0x0010, 2); /* no scheme */
  put(&w, 0, 2);
  put(&w, 0, 2);
  put(&w, 0, 4);
  if ((rc = transact(&w)) != 0) return rc;
  get(&w, 4); /* parameterSize */
  blobs = w.at;
  w.at += get(&w, 2); /* TPM2B_PRIVATE, then TPM2B_PUBLIC */
  w.at += get(&w, 2);
  if (!wire_ok(&w)) return RC_DEVICE;
  bytes = w.at - blobs;
  begin(&load, TPM_ST_SESSIONS, TPM_CC_LOAD);
  put(&load, parent, 4);
  put_password(&load);
  put_bytes(&load, w.bytes + blobs, bytes);
  if ((rc = transact(&load)) != 0) return rc;
  *handle = get(&load, 4);
  return wire_ok(&load) ? 0 : RC_DEVICE;
}

static uint32_t persist(uint32_t handle) {
  struct wire w;
  begin(&w, TPM_ST_SESSIONS, TPM_CC_EVICT_CONTROL);
  put(&w, TPM_RH_OWNER, 4);
  put(&w, handle, 4);
  put_password(&w);
  put(&w, SEALED_HANDLE, 4);
  return transact(&w);
}

static uint32_t flush(uint32_t handle) {
  struct wire w;
  begin(&w, TPM_ST_NO_SESSIONS, TPM_CC_FLUSH_CONTEXT);
  put(&w, handle, 4);
  return transact(&w);
}

static uint32_t unseal(uint8_t *out, size_t *size) {
  struct wire w;
  uint32_t rc;
  begin(&w, TPM_ST_SESSIONS, TPM_CC_UNSEAL);
  put(&w, SEALED_HANDLE, 4);
  put_password(&w);
  if ((rc = transact(&w)) != 0) return rc;
  get(&w, 4);
  *size = get(&w, 2);
  if (*size > 64 || w.at + *size > w.end) return RC_DEVICE;
  memcpy(out, w.bytes + w.at, *size);
  return 0;
}

static uint32_t ror(uint32_t x, int n) { return x >> n | x << (32 - n); }

/* FIPS 180-4, 6.2. */
static void sha256_block(uint32_t h[8], const uint8_t block[64]) {
  static const uint32_t k[64] = {
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
      0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
      0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
      0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
      0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
      0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
      0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
      0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
  uint32_t m[64], v[8];
  for (int i = 0; i < 16; i++)
    m[i] = (uint32_t)block[4 * i] << 24 | block[4 * i + 1] << 16 | block[4 * i + 2] << 8 | block[4 * i + 3];
  for (int i = 16; i < 64; i++)
    m[i] = m[i - 16] + (ror(m[i - 15], 7) ^ ror(m[i - 15], 18) ^ m[i - 15] >> 3) + m[i - 7] +
           (ror(m[i - 2], 17) ^ ror(m[i - 2], 19) ^ m[i - 2] >> 10);
  memcpy(v, h, sizeof v);
  for (int i = 0; i < 64; i++) {
    uint32_t t1 = v[7] + (ror(v[4], 6) ^ ror(v[4], 11) ^ ror(v[4], 25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + m[i];
    uint32_t t2 = (ror(v[0], 2) ^ ror(v[0], 13) ^ ror(v[0], 22)) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
    memmove(v + 1, v, 7 * sizeof *v);
    v[4] += t1;
    v[0] = t1 + t2;
  }
  for (int i = 0; i < 8; i++) h[i] += v[i];
}

void sha256_short(const uint8_t *message, size_t size, uint8_t out[DIGEST_BYTES]) {
  uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint8_t blocks[128] = {0};
  size_t bytes = size > 55 ? 128 : 64;
  memcpy(blocks, message, size);
  blocks[size] = 0x80;
  blocks[bytes - 2] = (uint8_t)(size >> 5);
  blocks[bytes - 1] = (uint8_t)(size << 3);
  for (size_t at = 0; at < bytes; at += 64) sha256_block(h, blocks + at);
  for (int i = 0; i < 8; i++)
    for (int b = 0; b < 4; b++) out[4 * i + b] = (uint8_t)(h[i] >> (24 - 8 * b));
}

/* Extends the PCR for this boot and makes sure that the vTPM holds a sealed secret. */
static uint32_t prepare(const char **secret_origin) {
  uint8_t bytes[64];
  uint32_t rc, primary, sealed;
  size_t size;
  if ((rc = random_bytes(bytes)) != 0 || (rc = pcr_extend(bytes)) != 0) return rc;
  *secret_origin = "kept";
  if (unseal(bytes, &size) == 0) return 0;
  *secret_origin = "new";
  if ((rc = random_bytes(bytes)) != 0 || (rc = create_primary(&primary)) != 0) return rc;
  if ((rc = seal(primary, bytes, &sealed)) != 0 || (rc = persist(sealed)) != 0) return rc;
  memset(bytes, 0, sizeof bytes);
  if ((rc = flush(sealed)) != 0) return rc;
  return flush(primary);
}

static void print_hex(const uint8_t digest[DIGEST_BYTES], char out[2 * DIGEST_BYTES + 1]) {
  for (int i = 0; i < DIGEST_BYTES; i++) sprintf(out + 2 * i, "%02x", digest[i]);
}

static void tick(unsigned long number) {
  uint8_t pcr[DIGEST_BYTES], secret[64], hash[DIGEST_BYTES];
  char pcr_hex[2 * DIGEST_BYTES + 1], hash_hex[2 * DIGEST_BYTES + 1];
  uint32_t rc;
  size_t size = 0;
  struct timespec now;
  if ((rc = pcr_read(pcr)) != 0 || (rc = unseal(secret, &size)) != 0) {
    clock_gettime(CLOCK_REALTIME, &now);
    printf("tick %lu ERROR 0x%x t=%lld%03ld\n", number, rc, (long long)now.tv_sec, now.tv_nsec / 1000000);
    return;
  }
  sha256_short(secret, size > 55 ? 55 : size, hash);
  memset(secret, 0, sizeof secret);
  print_hex(pcr, pcr_hex);
  print_hex(hash, hash_hex);
  clock_gettime(CLOCK_REALTIME, &now);
  printf("tick %lu pcr=%s secret=%s ok t=%lld%03ld\n", number, pcr_hex, hash_hex, (long long)now.tv_sec,
         now.tv_nsec / 1000000);
}

int main(void) {
  const char *secret_origin = "none";
  struct timespec next;
  uint32_t rc;
  mkdir("/dev", 0755);
  mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
  if (freopen("/dev/ttyS0", "w", stdout) == NULL) return 1;
  setvbuf(stdout, NULL, _IOLBF, 0);
  tpm_fd = open("/dev/tpm0", O_RDWR | O_CLOEXEC);
  rc = prepare(&secret_origin);
  if (rc == 0)
    printf("ticker ready secret=%s\n", secret_origin);
  else
    printf("ticker ERROR 0x%x\n", rc);
  clock_gettime(CLOCK_MONOTONIC, &next);
  for (unsigned long number = 1;; number++) {
    tick(number);
    serve_quotes();
    next.tv_sec++;
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
  }
}
