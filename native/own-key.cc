#include "own-key.h"

#include <openssl/crypto.h>
#include <tss2/tss2_mu.h>
#include <tss2/tss2_rc.h>
#include <tss2/tss2_sys.h>

#include <algorithm>
#include <functional>
#include <future>
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
};

// All that came from outside is parsed before the TPM is opened.
Parsed Parse(const ReceiveKeyUse& own) {
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
  return p;
}

TPM2B_ECC_POINT PointOf(const std::vector<uint8_t>& sealed) {
  TPM2B_ECC_POINT ephemeral{};
  auto point = EphemeralPoint(sealed);
  ephemeral.point.x.size = ephemeral.point.y.size = 32;
  std::copy_n(point.begin() + 1, 32, ephemeral.point.x.buffer);
  std::copy_n(point.begin() + 33, 32, ephemeral.point.y.buffer);
  return ephemeral;
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

// False when PCRs changed in between.
bool Authorize(ESYS_CONTEXT* esys, PolicySession& session, const Parsed& p) {
  TPM2B_DIGEST current{};  // empty: whatever the PCRs are now; PolicyAuthorize then compares with what was approved
  TSS2_RC rc = Esys_PolicyPCR(esys, session.tr(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &current, &p.pcrs);
  if (rc == kPcrChanged) return false;
  Check("PolicyPCR", rc);
  Check("PolicyAuthorize", Esys_PolicyAuthorize(esys, session.tr(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &p.approved_policy,
                                                &p.policy_ref, &p.key_sign, &p.ticket));
  return true;
}

// Uses the key in an authorized session; the session is over where this succeeds.
TSS2_RC Agree(ESYS_CONTEXT* esys, ESYS_TR key, PolicySession& session, const TPM2B_ECC_POINT& ephemeral, SecretBuffer& z) {
  TPM2B_ECC_POINT* raw = nullptr;
  TSS2_RC rc = Esys_ECDH_ZGen(esys, key, session.tr(), ESYS_TR_NONE, ESYS_TR_NONE, &ephemeral, &raw);
  std::unique_ptr<TPM2B_ECC_POINT, FreeCleansed> point(raw);
  if (rc != TSS2_RC_SUCCESS) return rc;
  session.Ended();
  const TPM2B_ECC_PARAMETER& x = point->point.x;
  if (x.size == 0 || x.size > z.size()) throw OperationError("tpm-structure-invalid", "ECDH_ZGen: a coordinate of another curve");
  std::fill_n(z.data(), z.size() - x.size, uint8_t{0});
  std::copy_n(x.buffer, x.size, z.data() + (z.size() - x.size));
  return rc;
}

// All that a use of the receive key depends on, but for what is opened by it: two uses are alike if these bytes are.
std::string IdentityOf(const ReceiveKeyUse& use) {
  std::string bytes;
  auto put = [&bytes](const auto& part) {
    bytes += std::to_string(part.size()) + ':';
    bytes.append(part.begin(), part.end());
  };
  put(use.tcti);
  put(std::to_string(use.receive_key_handle));
  put(use.receive_public);
  put(use.approval.pcr_selection);
  put(use.approval.approved_policy);
  put(use.approval.policy_ref);
  put(use.approval.key_sign_name);
  put(use.approval.ticket);
  return bytes;
}

// A session that is ready for the command that uses the key. It is used once: the connection, whose buffers have seen Z then, ends with it.
struct ReadySession {
  std::string identity;
  TpmConnection tpm;
  ESYS_TR key;
  PolicySession session;

  ReadySession(std::string id, const std::string& tcti, uint32_t handle, const ReceiveKey& receive_key)
      : identity(std::move(id)), tpm(tcti), key(KnownKey(tpm.esys(), handle, receive_key)), session(tpm.esys(), key) {}
};

// The one that `Prepare` made, if it was not used yet; whoever looks at it has a TpmTurn. Never destroyed at exit: the TPM is not asked then.
std::unique_ptr<ReadySession>& Ready() {
  static auto* ready = new std::unique_ptr<ReadySession>;
  return *ready;
}

// Sessions that a process of before left behind where no resource manager ends them (a killed agent, a TPM without one) take up the few
// places that there are. A resource manager shows nobody else's.
void FlushLeftBehind(ESYS_CONTEXT* esys) {
  TPMI_YES_NO more = TPM2_NO;
  TPMS_CAPABILITY_DATA* raw = nullptr;
  if (Esys_GetCapability(esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_HANDLES, TPM2_LOADED_SESSION_FIRST, TPM2_MAX_CAP_HANDLES,
                         &more, &raw) != TSS2_RC_SUCCESS) {
    return;
  }
  std::unique_ptr<TPMS_CAPABILITY_DATA, decltype(&Esys_Free)> found(raw, Esys_Free);
  TSS2_SYS_CONTEXT* sys = nullptr;
  if (Esys_GetSysContext(esys, &sys) != TSS2_RC_SUCCESS || sys == nullptr) return;
  for (UINT32 i = 0; i < found->data.handles.count; i++) {
    TPM2_HANDLE handle = found->data.handles.handle[i];
    if (handle >> TPM2_HR_SHIFT == TPM2_HT_POLICY_SESSION) Tss2_Sys_FlushContext(sys, handle);
  }
}

// `begins` is called just before the command that uses the key, which is when the TPM looks whether the PCRs have changed.
SecretBuffer UseKey(const ReceiveKeyUse& use, const Parsed& parsed, const std::string& identity, const TPM2B_ECC_POINT& ephemeral,
                    const std::function<void()>& begins, uint32_t& commands) {
  SecretBuffer z(32);
  if (auto ready = std::move(Ready()); ready && ready->identity == identity) {
    // Whatever it fails for (PCRs that changed, a TPM that was reset), a session of now decides.
    uint32_t before = ready->tpm.commands();
    begins();
    TSS2_RC rc = Agree(ready->tpm.esys(), ready->key, ready->session, ephemeral, z);
    commands += ready->tpm.commands() - before;
    if (rc == TSS2_RC_SUCCESS) return z;
  }
  TpmConnection tpm(use.tcti);
  ESYS_TR key = KnownKey(tpm.esys(), use.receive_key_handle, parsed.key);
  for (int attempt = 1;; attempt++) {
    PolicySession session(tpm.esys(), key);
    TSS2_RC rc = kPcrChanged;
    if (Authorize(tpm.esys(), session, parsed)) {
      begins();
      rc = Agree(tpm.esys(), key, session, ephemeral, z);
    }
    if (rc != kPcrChanged) {
      Check("ECDH_ZGen", rc);
      commands += tpm.commands();
      return z;
    }
    if (attempt == kAttemptsMax) Fail("ECDH_ZGen", kPcrChanged);
  }
}

using SharedOpened = std::shared_future<std::shared_ptr<Opened>>;

// Uses that wait for their turn or are being authorized, by identity and ephemeral point. Whoever comes meanwhile takes part; once the
// command is sent, it is for nobody who comes later: a key is opened by a look at the PCRs after it was asked for.
struct WaitingUses {
  std::mutex mutex;
  std::map<std::string, SharedOpened> uses;
};
WaitingUses& Waiting() {
  static auto* waiting = new WaitingUses;
  return *waiting;
}

// What a use of the receive key is for: the envelope, and all that the use depends on.
std::string PurposeOf(const OwnKey& own) {
  const auto point = EphemeralPoint(own.sealed);
  return IdentityOf(own.use) + std::string(point.begin(), point.end());
}

std::shared_ptr<Opened> OpenTogether(const OwnKey& own, const Parsed& parsed, uint32_t& commands) {
  const TPM2B_ECC_POINT ephemeral = PointOf(own.sealed);
  const auto identity = IdentityOf(own.use);
  const auto what = PurposeOf(own);

  WaitingUses& waiting = Waiting();
  std::promise<std::shared_ptr<Opened>> promise;
  {
    std::unique_lock lock(waiting.mutex);
    if (auto found = waiting.uses.find(what); found != waiting.uses.end()) {
      SharedOpened use = found->second;
      lock.unlock();
      return use.get();
    }
    waiting.uses.emplace(what, promise.get_future().share());
  }
  bool open = true;
  auto close = [&]() {
    std::lock_guard lock(waiting.mutex);
    if (open) waiting.uses.erase(what);
    open = false;
  };
  try {
    TpmTurn turn;
    auto opened = std::make_shared<Opened>(UseKey(own.use, parsed, identity, ephemeral, close, commands));
    promise.set_value(opened);
    return opened;
  } catch (...) {
    close();
    promise.set_exception(std::current_exception());
    throw;
  }
}

// Uses that operations on their way are expected to share, by the number that they name.
struct HeldUse {
  std::string what;
  std::chrono::steady_clock::time_point until;
  std::shared_ptr<Opened> opened;
};
struct HeldUses {
  std::mutex mutex;
  uint32_t last = 0;
  std::map<uint32_t, HeldUse> uses;

  // What is over is gone before anybody looks.
  void Sweep() {
    const auto now = std::chrono::steady_clock::now();
    std::erase_if(uses, [now](const auto& use) { return use.second.until <= now; });
  }
};
HeldUses& AllHeld() {
  static auto* held = new HeldUses;
  return *held;
}

// Null where the hold is over, or is for another envelope.
std::shared_ptr<Opened> FindHeld(const OwnKey& own) {
  if (own.hold == 0) return nullptr;
  HeldUses& held = AllHeld();
  std::lock_guard lock(held.mutex);
  held.Sweep();
  const auto found = held.uses.find(own.hold);
  return found != held.uses.end() && found->second.what == PurposeOf(own) ? found->second.opened : nullptr;
}

}  // namespace

SealedKey Opened::SealFor(const ReceiveKey& destination, const SecretBuffer& raw_key, std::span<const uint8_t> context) {
  std::lock_guard lock(mutex_);
  std::string whose(destination.wire.begin(), destination.wire.end());
  auto found = envelopes_.find(whose);
  if (found == envelopes_.end()) found = envelopes_.emplace(std::move(whose), Envelope::To(destination)).first;
  return Seal(raw_key, found->second, context);
}

Unsealed Unseal(const OwnKey& own) {
  Parsed parsed = Parse(own.use);
  uint32_t commands = 0;
  auto opened = FindHeld(own);
  if (!opened) opened = OpenTogether(own, parsed, commands);
  return {Open(own.sealed, opened->z(), parsed.key, own.context), commands, opened};
}

uint32_t Prepare(const ReceiveKeyUse& use) {
  Parsed parsed = Parse(use);
  auto identity = IdentityOf(use);
  TpmTurn turn;
  static bool first = true;
  auto& ready = Ready();
  if (ready && ready->identity == identity) return 0;
  ready.reset();
  if (first) {
    TpmConnection tpm(use.tcti);
    FlushLeftBehind(tpm.esys());
    first = false;
  }
  auto fresh = std::make_unique<ReadySession>(std::move(identity), use.tcti, use.receive_key_handle, parsed.key);
  if (!Authorize(fresh->tpm.esys(), fresh->session, parsed)) Fail("PolicyPCR", kPcrChanged);
  uint32_t commands = fresh->tpm.commands();
  ready = std::move(fresh);
  return commands;
}

void Unprepare() {
  TpmTurn turn;
  Ready().reset();
}

Held Hold(const OwnKey& own, std::chrono::milliseconds life) {
  Parsed parsed = Parse(own.use);
  uint32_t commands = 0;
  auto opened = OpenTogether(own, parsed, commands);
  // A key that does not open is no reason to keep anything.
  Open(own.sealed, opened->z(), parsed.key, own.context);
  HeldUses& held = AllHeld();
  std::lock_guard lock(held.mutex);
  held.Sweep();
  const uint32_t number = ++held.last;
  held.uses.emplace(number, HeldUse{PurposeOf(own), std::chrono::steady_clock::now() + life, std::move(opened)});
  return {number, commands};
}

void Release(uint32_t hold) {
  HeldUses& held = AllHeld();
  std::lock_guard lock(held.mutex);
  held.uses.erase(hold);
  held.Sweep();
}

Gathered Gather(const OwnKey& own, const std::vector<std::pair<std::vector<uint8_t>, std::vector<uint8_t>>>& others) {
  Unsealed first = Unseal(own);
  Gathered gathered{{}, first.tpm_commands};
  Parsed parsed = Parse(own.use);
  Envelope envelope = Envelope::Of(own.sealed, first.opened->z(), parsed.key);
  for (const auto& [sealed, context] : others) {
    Unsealed other = Unseal({.use = own.use, .sealed = sealed, .context = context});
    SealedKey sealed_anew = Seal(other.raw_key, envelope, context);
    // What does not open would be lost for good.
    SecretBuffer again = Open(sealed_anew, first.opened->z(), parsed.key, context);
    if (CRYPTO_memcmp(again.data(), other.raw_key.data(), kRawKeyBytes) != 0) throw OperationError("internal", "a key was not sealed as it was");
    gathered.sealed.push_back(sealed_anew);
    gathered.tpm_commands += other.tpm_commands;
  }
  return gathered;
}

}  // namespace tvmmp
