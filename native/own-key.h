// Unsealing on this host: the TPM's receive key, used in a session that the authority's policy allows (SPEC 5.2, 5.3).
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "receive-key.h"
#include "sealed-key.h"
#include "secret-buffer.h"

namespace tvmmp {

// What the authority's policy key signed for one state of the PCRs, as TPM2_PolicyAuthorize wants it (Part 3, 23.16).
struct Approval {
  std::vector<uint8_t> pcr_selection;    // TPML_PCR_SELECTION, wire form
  std::vector<uint8_t> approved_policy;  // 32 bytes
  std::vector<uint8_t> policy_ref;
  std::vector<uint8_t> key_sign_name;
  std::vector<uint8_t> ticket;           // TPMT_TK_VERIFIED, wire form
};

// This host's receive key and what lets it be used.
struct ReceiveKeyUse {
  std::string tcti;
  uint32_t receive_key_handle = 0;
  std::vector<uint8_t> receive_public;  // TPMT_PUBLIC, wire form
  Approval approval;
};

struct OwnKey {
  ReceiveKeyUse use;
  std::vector<uint8_t> sealed;
  std::vector<uint8_t> context;
  uint32_t hold = 0;  // number of a `Hold`, 0 for none
};

// What one use of the receive key brought: shared by the operations that waited for it, or are expected by a `Hold`, gone with the last of them.
class Opened {
 public:
  explicit Opened(SecretBuffer z) : z_(std::move(z)) {}
  const SecretBuffer& z() const { return z_; }
  // Seals for a destination: all keys that this use opened, under one envelope, so that one use of the destination's TPM opens them.
  SealedKey SealFor(const ReceiveKey& destination, const SecretBuffer& raw_key, std::span<const uint8_t> context);

 private:
  SecretBuffer z_;
  std::mutex mutex_;
  std::map<std::string, Envelope> envelopes_;
};

struct Unsealed {
  SecretBuffer raw_key;
  uint32_t tpm_commands;
  std::shared_ptr<Opened> opened;
};

// Four TPM commands: StartAuthSession, PolicyPCR, PolicyAuthorize, ECDH_ZGen; the last one alone where `Prepare` was in time.
// None where the key's `hold` is there. Operations that wait for their turn and whose keys are under one envelope share them: those that did not send any count none.
// Errors: "seal-refused" when the TPM refuses the state this host is in, "seal-invalid", "tpm-structure-invalid", "tpm-unreachable",
// "tpm-call-failed".
Unsealed Unseal(const OwnKey& own);

// Opens a policy session for the next use of the receive key, up to the command that uses it: three TPM commands, none where there is
// one already. No key is opened by it; whether the PCRs are still as they were the TPM looks at when the session is used. Returns the
// number of commands.
uint32_t Prepare(const ReceiveKeyUse& use);

// Ends the session of `Prepare`, if there is one.
void Unprepare();

// Uses the receive key ahead of operations that will name the number, for keys under the same envelope: they then send no command. For so long as
// `life` says and nobody says `Release`; whoever comes later has the TPM asked.
struct Held {
  uint32_t hold;
  uint32_t tpm_commands;
};
Held Hold(const OwnKey& own, std::chrono::milliseconds life);

// Ends a `Hold`, if it is there.
void Release(uint32_t hold);

// Puts keys of this host under the envelope of one of them, so that they are opened together. All of them are opened first.
struct Gathered {
  std::vector<SealedKey> sealed;  // in the order of `others`
  uint32_t tpm_commands;
};
Gathered Gather(const OwnKey& own, const std::vector<std::pair<std::vector<uint8_t>, std::vector<uint8_t>>>& others);

}  // namespace tvmmp
