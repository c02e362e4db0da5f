#include "sealed-key.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "operation-error.h"

namespace tvmmp {
namespace {

constexpr uint8_t kVersion = 1;
constexpr size_t kPointAt = 1;
constexpr size_t kNonceAt = kPointAt + kPointBytes;
constexpr size_t kCiphertextAt = kNonceAt + kNonceBytes;
constexpr size_t kTagAt = kCiphertextAt + kRawKeyBytes;

using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, Deleter<EVP_CIPHER_CTX_free>>;
using Kdf = std::unique_ptr<EVP_KDF, Deleter<EVP_KDF_free>>;
using KdfContext = std::unique_ptr<EVP_KDF_CTX, Deleter<EVP_KDF_CTX_free>>;

// Key-encryption key: HKDF-SHA256(Z, no salt, label || SHA-256(recipient's public key) || ephemeral point).
SecretBuffer DeriveKek(const SecretBuffer& z, const Recipient& recipient, std::span<const uint8_t> point) {
  std::vector<uint8_t> information(recipient.label.begin(), recipient.label.end());
  information.insert(information.end(), recipient.wire_digest.begin(), recipient.wire_digest.end());
  information.insert(information.end(), point.begin(), point.end());
  char digest[] = "SHA256";
  OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, const_cast<uint8_t*>(z.data()), z.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, information.data(), information.size()),
      OSSL_PARAM_construct_end(),
  };
  Kdf kdf(EVP_KDF_fetch(nullptr, "HKDF", nullptr));
  Expect(kdf != nullptr, "HKDF");
  KdfContext context(EVP_KDF_CTX_new(kdf.get()));
  SecretBuffer kek(32);
  Expect(context && EVP_KDF_derive(context.get(), kek.data(), kek.size(), parameters) == 1, "HKDF");
  return kek;
}

void CheckForm(std::span<const uint8_t> sealed) {
  if (sealed.size() != kSealedKeyBytes) throw OperationError("seal-invalid", "sealed key: not of 126 bytes");
  if (sealed[0] != kVersion) throw OperationError("seal-invalid", "sealed key: unknown version");
}

}  // namespace

SecretBuffer RandomKey() {
  SecretBuffer key(kRawKeyBytes);
  Expect(RAND_priv_bytes(key.data(), static_cast<int>(key.size())) == 1, "random bytes");
  return key;
}

Envelope Envelope::To(const Recipient& recipient) {
  Key peer = PublicKey(recipient.point);
  if (!peer) throw OperationError("tpm-structure-invalid", "receive key: its point is not on the curve");
  Key ephemeral = NewP256Key();
  Point point = PointOf(ephemeral.get());
  return {point, DeriveKek(SharedX(ephemeral.get(), peer.get()), recipient, point)};
}

Envelope Envelope::Of(std::span<const uint8_t> sealed, const SecretBuffer& z, const Recipient& recipient) {
  auto point = EphemeralPoint(sealed);
  return {point, DeriveKek(z, recipient, point)};
}

SealedKey Seal(const SecretBuffer& raw_key, const Envelope& envelope, std::span<const uint8_t> context) {
  Expect(raw_key.size() == kRawKeyBytes, "key size");
  SealedKey sealed;
  sealed[0] = kVersion;
  std::copy(envelope.point.begin(), envelope.point.end(), sealed.begin() + kPointAt);
  uint8_t* nonce = sealed.data() + kNonceAt;
  Expect(RAND_bytes(nonce, kNonceBytes) == 1, "random bytes");
  CipherContext cipher(EVP_CIPHER_CTX_new());
  int length = 0;
  Expect(cipher && EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, envelope.kek.data(), nonce) == 1 &&
             EVP_EncryptUpdate(cipher.get(), nullptr, &length, context.data(), static_cast<int>(context.size())) == 1 &&
             EVP_EncryptUpdate(cipher.get(), sealed.data() + kCiphertextAt, &length, raw_key.data(), kRawKeyBytes) == 1 &&
             length == static_cast<int>(kRawKeyBytes) &&
             EVP_EncryptFinal_ex(cipher.get(), sealed.data() + kTagAt, &length) == 1 && length == 0 &&
             EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kTagBytes, sealed.data() + kTagAt) == 1,
         "AES-256-GCM");
  return sealed;
}

Point EphemeralPoint(std::span<const uint8_t> sealed) {
  CheckForm(sealed);
  Point point;
  std::copy_n(sealed.begin() + kPointAt, kPointBytes, point.begin());
  // Uncompressed only, and on the curve before the TPM sees it.
  if (point[0] != 0x04 || !PublicKey(point)) throw OperationError("seal-invalid", "sealed key: its point is not on the curve");
  return point;
}

SecretBuffer Open(std::span<const uint8_t> sealed, const SecretBuffer& z, const Recipient& recipient, std::span<const uint8_t> context) {
  CheckForm(sealed);
  SecretBuffer kek = DeriveKek(z, recipient, sealed.subspan(kPointAt, kPointBytes));
  SecretBuffer raw_key(kRawKeyBytes);
  CipherContext cipher(EVP_CIPHER_CTX_new());
  int length = 0;
  Expect(cipher && EVP_DecryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, kek.data(), sealed.data() + kNonceAt) == 1 &&
             EVP_DecryptUpdate(cipher.get(), nullptr, &length, context.data(), static_cast<int>(context.size())) == 1 &&
             EVP_DecryptUpdate(cipher.get(), raw_key.data(), &length, sealed.data() + kCiphertextAt, kRawKeyBytes) == 1 &&
             length == static_cast<int>(kRawKeyBytes) &&
             EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, kTagBytes, const_cast<uint8_t*>(sealed.data()) + kTagAt) == 1,
         "AES-256-GCM");
  uint8_t rest[16];
  if (EVP_DecryptFinal_ex(cipher.get(), rest, &length) != 1 || length != 0) {
    throw OperationError("seal-invalid", "sealed key: does not open (altered, or of another VM, epoch, session or host)");
  }
  return raw_key;
}

}  // namespace tvmmp
