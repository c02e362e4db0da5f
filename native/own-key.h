// Unsealing on this host: the TPM's receive key, used in a session that the authority's policy allows (SPEC 5.2, 5.3).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

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

struct OwnKey {
  std::string tcti;
  uint32_t receive_key_handle = 0;
  std::vector<uint8_t> receive_public;  // TPMT_PUBLIC, wire form
  Approval approval;
  std::vector<uint8_t> sealed;
  std::vector<uint8_t> context;
};

struct Unsealed {
  SecretBuffer raw_key;
  uint32_t tpm_commands;
};

// Four TPM commands: StartAuthSession, PolicyPCR, PolicyAuthorize, ECDH_ZGen. Errors: "seal-refused" when the TPM refuses the
// state this host is in, "seal-invalid", "tpm-structure-invalid", "tpm-unreachable", "tpm-call-failed".
Unsealed Unseal(const OwnKey& own);

}  // namespace tvmmp
