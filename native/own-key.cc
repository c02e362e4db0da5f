#include "own-key.h"

#include <openssl/crypto.h>
#include <tss2/tss2_mu.h>
#include <tss2/tss2_rc.h>

#include <algorithm>
#include <memory>

#include "operation-error.h"
#include "receive-key.h"
#include "sealed-key.h"
#include "tpm-connection.h"

namespace tvmmp {
namespace {

// PCRs that change while the session is open (IMA extends PCR 10 at any time) make the TPM ask for a new session.
constexpr int kAttemptsMax = 4;
constexpr TSS2_RC kPcrChanged = TPM2_RC_PCR_CHANGED;
constexpr uint32_t kEsysKeyResource = 1;  // IESYSC_KEY_RSRC (tpm2-tss esys_types.h, the same from 2.x to 4.x)

struct FreeCleansed {
  void operator()(TPM2B_ECC_POINT* point) const {
    OPENSSL_cleanse(point, sizeof(*point));
    Esys_Free(point);
  }
};

// Response code without the bits that say which parameter, handle or session it is about (Part 2, 6.6.2).
TSS2_RC Base(TSS2_RC rc) { return (rc & TPM2_RC_FMT1) != 0 ? rc & (TPM2_RC_FMT1 | 0x3f) : rc; }

[[noreturn]] void Fail(const char* command, TSS2_RC rc) {
  std::string text = std::string(command) + ": " + Tss2_RC_Decode(rc);
  TSS2_RC base = (rc & TSS2_RC_LAYER_MASK) == 0 ? Base(rc) : TSS2_RC_SUCCESS;
  if (base == TPM2_RC_VALUE || base == TPM2_RC_POLICY_FAIL || base == TPM2_RC_TICKET || rc == kPcrChanged) {
    throw OperationError::FromTpm("seal-refused", "the TPM refuses the key in the state that this host is in (" + text + ")", rc);
  }
  if ((rc & TSS2_RC_LAYER_MASK) == TSS2_TCTI_RC_LAYER) throw OperationError::FromTpm("tpm-unreachable", text, rc);
  throw OperationError::FromTpm("tpm-call-failed", text, rc);
}

void Check(const char* command, TSS2_RC rc) {
  if (rc != TSS2_RC_SUCCESS) Fail(command, rc);
}

template <typename Sized>
Sized Tpm2b(const std::vector<uint8_t>& bytes, uint8_t* (*buffer)(Sized&), size_t max, const char* what) {
  Sized out{};
  if (bytes.size() > max) throw OperationError("tpm-structure-invalid", std::string(what) + ": too long");
  out.size = static_cast<uint16_t>(bytes.size());
  std::copy(bytes.begin(), bytes.end(), buffer(out));
  return out;
}

TPM2B_DIGEST Digest(const std::vector<uint8_t>& bytes, const char* what) {
  return Tpm2b<TPM2B_DIGEST>(bytes, [](TPM2B_DIGEST& d) -> uint8_t* { return d.buffer; }, sizeof(TPM2B_DIGEST::buffer), what);
}

TPM2B_NAME Name(const std::vector<uint8_t>& bytes, const char* what) {
  return Tpm2b<TPM2B_NAME>(bytes, [](TPM2B_NAME& n) -> uint8_t* { return n.name; }, sizeof(TPM2B_NAME::name), what);
}

struct Parsed {
  ReceiveKey key;
  TPML_PCR_SELECTION pcrs{};
  TPM2B_DIGEST approved_policy{};
  TPM2B_NONCE policy_ref{};
  TPM2B_NAME key_sign{};
  TPMT_TK_VERIFIED ticket{};
  TPM2B_ECC_POINT ephemeral{};
};

// All that came from outside is parsed before the TPM is opened.
Parsed Parse(const OwnKey& own) {
  Parsed p{ReceiveKey::Parse(own.receive_public)};
  size_t offset = 0;
  const auto& selection = own.approval.pcr_selection;
  if (Tss2_MU_TPML_PCR_SELECTION_Unmarshal(selection.data(), selection.size(), &offset, &p.pcrs) != TSS2_RC_SUCCESS ||
      offset != selection.size()) {
    throw OperationError("tpm-structure-invalid", "approval: not a TPML_PCR_SELECTION");
  }
  offset = 0;
  const auto& ticket = own.approval.ticket;
  if (Tss2_MU_TPMT_TK_VERIFIED_Unmarshal(ticket.data(), ticket.size(), &offset, &p.ticket) != TSS2_RC_SUCCESS || offset != ticket.size()) {
    throw OperationError("tpm-structure-invalid", "approval: not a TPMT_TK_VERIFIED");
  }
  p.approved_policy = Digest(own.approval.approved_policy, "approvedPolicy");
  p.policy_ref = Digest(own.approval.policy_ref, "policyRef");
  p.key_sign = Name(own.approval.key_sign_name, "keySignName");
  auto point = EphemeralPoint(own.sealed);
  p.ephemeral.point.x.size = p.ephemeral.point.y.size = 32;
  std::copy_n(point.begin() + 1, 32, p.ephemeral.point.x.buffer);
  std::copy_n(point.begin() + 33, 32, p.ephemeral.point.y.buffer);
  return p;
}

// An ESYS_TR for the persistent receive key without the TPM2_ReadPublic that Esys_TR_FromTPMPublic would send: from what we
// know already, in the form that Esys_TR_Serialize writes. If the handle holds another key, the session's HMAC, which covers the
// name, does not verify. A TSS that changed the form is noticed by its answer, and asked in the ordinary way.
ESYS_TR KnownKey(ESYS_CONTEXT* esys, uint32_t handle, const ReceiveKey& key) {
  std::vector<uint8_t> form;
  auto put = [&form](uint32_t value, int bytes) {
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) form.push_back(static_cast<uint8_t>(value >> shift));
  };
  put(handle, 4);
  put(static_cast<uint32_t>(key.name.size()), 2);
  form.insert(form.end(), key.name.begin(), key.name.end());
  put(kEsysKeyResource, 4);
  put(static_cast<uint32_t>(key.wire.size()), 2);
  form.insert(form.end(), key.wire.begin(), key.wire.end());

  ESYS_TR tr = ESYS_TR_NONE;
  auto matches = [&]() {
    TPM2B_NAME* raw = nullptr;
    TPM2_HANDLE seen = 0;
    if (Esys_TR_GetName(esys, tr, &raw) != TSS2_RC_SUCCESS) return false;
    std::unique_ptr<TPM2B_NAME, decltype(&Esys_Free)> name(raw, Esys_Free);
    return Esys_TR_GetTpmHandle(esys, tr, &seen) == TSS2_RC_SUCCESS && seen == handle && name->size == key.name.size() &&
           std::equal(key.name.begin(), key.name.end(), name->name);
  };
  if (Esys_TR_Deserialize(esys, form.data(), form.size(), &tr) == TSS2_RC_SUCCESS && matches()) return tr;
  Check("ReadPublic", Esys_TR_FromTPMPublic(esys, handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &tr));
  if (!matches()) throw OperationError("tpm-not-provisioned", "the TPM holds another key at the receive key's handle");
  return tr;
}

// Flushes the session unless the TPM has already done so.
class PolicySession {
 public:
  // Salted with the receive key itself (any decryption key may serve, and using it so needs no authorization: Part 3, 11.1), so
  // that Z comes back encrypted and authenticated: someone on the bus between CPU and TPM reads and alters nothing.
  PolicySession(ESYS_CONTEXT* esys, ESYS_TR salt_key) : esys_(esys) {
    TPMT_SYM_DEF symmetric{};
    symmetric.algorithm = TPM2_ALG_AES;
    symmetric.keyBits.aes = 128;
    symmetric.mode.aes = TPM2_ALG_CFB;
    Check("StartAuthSession", Esys_StartAuthSession(esys, salt_key, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, nullptr,
                                                    TPM2_SE_POLICY, &symmetric, TPM2_ALG_SHA256, &session_));
    // Not continueSession: the TPM flushes it after the one command it authorizes.
    TSS2_RC rc = Esys_TRSess_SetAttributes(esys, session_, TPMA_SESSION_ENCRYPT, TPMA_SESSION_ENCRYPT | TPMA_SESSION_CONTINUESESSION);
    if (rc != TSS2_RC_SUCCESS) {
      Esys_FlushContext(esys_, session_);
      Fail("session attributes", rc);
    }
  }
  ~PolicySession() {
    if (session_ != ESYS_TR_NONE) Esys_FlushContext(esys_, session_);
  }
  PolicySession(const PolicySession&) = delete;
  PolicySession& operator=(const PolicySession&) = delete;
  ESYS_TR tr() const { return session_; }
  void Ended() { session_ = ESYS_TR_NONE; }

 private:
  ESYS_CONTEXT* esys_;
  ESYS_TR session_ = ESYS_TR_NONE;
};

// One attempt. False when PCRs changed in between.
bool Agree(TpmConnection& tpm, ESYS_TR key, const Parsed& p, SecretBuffer& z) {
  ESYS_CONTEXT* esys = tpm.esys();
  PolicySession session(esys, key);
  TPM2B_DIGEST current{};  // empty: whatever the PCRs are now; PolicyAuthorize then compares with what was approved
  TSS2_RC rc = Esys_PolicyPCR(esys, session.tr(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &current, &p.pcrs);
  if (rc == kPcrChanged) return false;
  Check("PolicyPCR", rc);
  Check("PolicyAuthorize", Esys_PolicyAuthorize(esys, session.tr(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &p.approved_policy,
                                                &p.policy_ref, &p.key_sign, &p.ticket));
  TPM2B_ECC_POINT* raw = nullptr;
  rc = Esys_ECDH_ZGen(esys, key, session.tr(), ESYS_TR_NONE, ESYS_TR_NONE, &p.ephemeral, &raw);
  std::unique_ptr<TPM2B_ECC_POINT, FreeCleansed> point(raw);
  if (rc == kPcrChanged) return false;
  Check("ECDH_ZGen", rc);
  session.Ended();
  const TPM2B_ECC_PARAMETER& x = point->point.x;
  if (x.size == 0 || x.size > z.size()) throw OperationError("tpm-structure-invalid", "ECDH_ZGen: a coordinate of another curve");
  std::fill_n(z.data(), z.size() - x.size, uint8_t{0});
  std::copy_n(x.buffer, x.size, z.data() + (z.size() - x.size));
  return true;
}

}  // namespace

Unsealed Unseal(const OwnKey& own) {
  Parsed parsed = Parse(own);
  SecretBuffer z(32);
  uint32_t commands = 0;
  {
    TpmConnection tpm(own.tcti);
    ESYS_TR key = KnownKey(tpm.esys(), own.receive_key_handle, parsed.key);
    int attempt = 1;
    while (!Agree(tpm, key, parsed, z)) {
      if (++attempt > kAttemptsMax) Fail("ECDH_ZGen", kPcrChanged);
    }
    commands = tpm.commands();
  }
  return {Open(own.sealed, z, parsed.key, own.context), commands};
}

}  // namespace tvmmp
