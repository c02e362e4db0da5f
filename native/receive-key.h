// The public part of a host's receive key (SPEC 5.2): what a sealer seals to, and what the own TPM must hold.
#pragma once

#include <tss2/tss2_tpm2_types.h>

#include <cstdint>
#include <span>
#include <vector>

#include "recipient.h"

namespace tvmmp {

struct ReceiveKey : Recipient {
  std::vector<uint8_t> wire;  // TPMT_PUBLIC as marshalled
  std::vector<uint8_t> name;  // nameAlg || wire_digest (TPM 2.0 Part 1, 16)

  // Refuses (OperationError "tpm-structure-invalid") whatever is not an ECC P-256, SHA-256, fixedTPM, unrestricted
  // decryption key that only a policy session can use: no caller can make us seal to a key that software holds open.
  static ReceiveKey Parse(std::span<const uint8_t> wire);
};

}  // namespace tvmmp
