// The authority's escrow key (SPEC 15): what hosts seal copies of vTPM keys for, and what opens one for a rescue. Its private half is made,
// kept and used here alone.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "recipient.h"
#include "sealed-key.h"
#include "secret-buffer.h"

namespace tvmmp {

// The public half, from SubjectPublicKeyInfo DER. Throws "policy-invalid" for what is not a P-256 key in exactly this form.
Recipient ParseEscrowKey(std::span<const uint8_t> spki);

// Where the private half is: PKCS #8 in PEM, and a file whose first line is its passphrase, where it has one.
struct EscrowKeyFile {
  std::string path;
  std::optional<std::string> passphrase_path;
};

// Makes a key in a file that must not be there yet (mode 0600, on disk before this returns). Returns its public half, SPKI DER.
std::vector<uint8_t> MakeEscrowKey(const EscrowKeyFile& file);

// Opens what a host has sealed for escrow. Throws "authority-invalid" where the file is not the private half of `spki`, "seal-invalid" as `Open`.
SecretBuffer OpenEscrowed(const EscrowKeyFile& file, std::span<const uint8_t> spki, std::span<const uint8_t> sealed,
                          std::span<const uint8_t> context);

}  // namespace tvmmp
