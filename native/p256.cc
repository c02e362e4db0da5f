#include "p256.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/params.h>

#include <string>
#include <string_view>
#include <utility>

#include "operation-error.h"

namespace tvmmp {

void Expect(bool done, const char* what) {
  if (!done) throw OperationError("internal", std::string("OpenSSL: ") + what);
}

namespace {

Key FromData(int what, OSSL_PARAM* parameters) {
  KeyContext context(EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr));
  EVP_PKEY* raw = nullptr;
  if (!context || EVP_PKEY_fromdata_init(context.get()) != 1) return nullptr;
  return EVP_PKEY_fromdata(context.get(), &raw, what, parameters) == 1 ? Key(raw) : nullptr;
}

}  // namespace

Key NewP256Key() {
  Key key(EVP_EC_gen("P-256"));
  Expect(key != nullptr, "key generation");
  return key;
}

Key PublicKey(std::span<const uint8_t, kPointBytes> point) {
  char group[] = "P-256";
  OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
      OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, const_cast<uint8_t*>(point.data()), point.size()),
      OSSL_PARAM_construct_end(),
  };
  Key key = FromData(EVP_PKEY_PUBLIC_KEY, parameters);
  if (!key) return nullptr;
  KeyContext check(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
  if (!check || EVP_PKEY_public_check(check.get()) != 1) return nullptr;
  return key;
}

Key PrivateKey(const Point& point, const SecretBuffer& scalar) {
  char group[] = "P-256";
  OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
      OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, const_cast<uint8_t*>(point.data()), point.size()),
      OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_PRIV_KEY, const_cast<uint8_t*>(scalar.data()), scalar.size()),
      OSSL_PARAM_construct_end(),
  };
  Key key = FromData(EVP_PKEY_KEYPAIR, parameters);
  if (!key) return nullptr;
  KeyContext check(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
  return check && EVP_PKEY_check(check.get()) == 1 ? std::move(key) : nullptr;
}

Point PointOf(EVP_PKEY* key) {
  Point point;
  size_t bytes = 0;
  Expect(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, point.data(), point.size(), &bytes) == 1 &&
             bytes == point.size() && point[0] == 0x04,
         "public point");
  return point;
}

bool IsP256(const EVP_PKEY* key) {
  char group[32];
  size_t length = 0;
  return EVP_PKEY_is_a(key, "EC") == 1 && EVP_PKEY_get_group_name(key, group, sizeof(group), &length) == 1 &&
         std::string_view(group, length) == "prime256v1";
}

SecretBuffer SharedX(EVP_PKEY* own, EVP_PKEY* peer) {
  SecretBuffer z(32);
  size_t bytes = z.size();
  KeyContext derive(EVP_PKEY_CTX_new_from_pkey(nullptr, own, nullptr));
  Expect(derive && EVP_PKEY_derive_init(derive.get()) == 1 && EVP_PKEY_derive_set_peer(derive.get(), peer) == 1 &&
             EVP_PKEY_derive(derive.get(), z.data(), &bytes) == 1 && bytes == z.size(),
         "ECDH");
  return z;
}

}  // namespace tvmmp
