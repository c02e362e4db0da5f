#include "receive-key.h"

#include <openssl/evp.h>
#include <tss2/tss2_mu.h>

#include <algorithm>

#include "operation-error.h"

namespace tvmmp {
namespace {

constexpr TPMA_OBJECT kMustBeSet = TPMA_OBJECT_DECRYPT | TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN;
constexpr TPMA_OBJECT kMustBeClear = TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_SIGN_ENCRYPT;

[[noreturn]] void Refuse(const char* why) {
  throw OperationError("tpm-structure-invalid", std::string("receive key: ") + why);
}

}  // namespace

ReceiveKey ReceiveKey::Parse(std::span<const uint8_t> wire) {
  TPMT_PUBLIC area{};
  size_t offset = 0;
  if (Tss2_MU_TPMT_PUBLIC_Unmarshal(wire.data(), wire.size(), &offset, &area) != TSS2_RC_SUCCESS || offset != wire.size()) {
    Refuse("not a TPMT_PUBLIC");
  }
  if (area.type != TPM2_ALG_ECC || area.nameAlg != TPM2_ALG_SHA256 || area.parameters.eccDetail.curveID != TPM2_ECC_NIST_P256) {
    Refuse("not ECC P-256 with SHA-256");
  }
  if ((area.objectAttributes & kMustBeSet) != kMustBeSet || (area.objectAttributes & kMustBeClear) != 0 || area.authPolicy.size != 32) {
    Refuse("not a decryption key that only a policy can use");
  }
  const TPMS_ECC_POINT& q = area.unique.ecc;
  if (q.x.size > 32 || q.y.size > 32 || q.x.size == 0 || q.y.size == 0) Refuse("coordinates of another curve");

  ReceiveKey key;
  key.label = "tvmmp/seal/1";
  key.wire.assign(wire.begin(), wire.end());
  key.point.fill(0);
  key.point[0] = 0x04;
  std::copy_n(q.x.buffer, q.x.size, key.point.begin() + 1 + (32 - q.x.size));
  std::copy_n(q.y.buffer, q.y.size, key.point.begin() + 33 + (32 - q.y.size));
  if (EVP_Digest(wire.data(), wire.size(), key.wire_digest.data(), nullptr, EVP_sha256(), nullptr) != 1) Refuse("no SHA-256");
  key.name = {TPM2_ALG_SHA256 >> 8, TPM2_ALG_SHA256 & 0xff};
  key.name.insert(key.name.end(), key.wire_digest.begin(), key.wire_digest.end());
  return key;
}

}  // namespace tvmmp
