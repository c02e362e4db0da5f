// ECDH on P-256 in software, by OpenSSL: what sealed keys (SPEC 5.3) and escrow (SPEC 15) are made with.
#pragma once

#include <openssl/evp.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "secret-buffer.h"

namespace tvmmp {

constexpr size_t kPointBytes = 65;
using Point = std::array<uint8_t, kPointBytes>;  // 0x04 || x || y

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* handle) const { Free(handle); }
};
using Key = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using KeyContext = std::unique_ptr<EVP_PKEY_CTX, Deleter<EVP_PKEY_CTX_free>>;

// Throws OperationError "internal" unless `done`.
void Expect(bool done, const char* what);

Key NewP256Key();
// The public key of an uncompressed point, or null when it is not on P-256.
Key PublicKey(std::span<const uint8_t, kPointBytes> point);
// The private key with this scalar (32 bytes, in the order of this machine), or null where the point is not its public half.
Key PrivateKey(const Point& point, const SecretBuffer& scalar);
// The public point of a P-256 key. Throws "internal" for a key of another kind: ask IsP256 first.
Point PointOf(EVP_PKEY* key);
bool IsP256(const EVP_PKEY* key);
// The x-coordinate of ECDH.
SecretBuffer SharedX(EVP_PKEY* own, EVP_PKEY* peer);

}  // namespace tvmmp
