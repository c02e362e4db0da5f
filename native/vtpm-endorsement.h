// The identity of a vTPM that does not run: the public area of its endorsement key.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "secret-buffer.h"

namespace tvmmp {

// TPMT_PUBLIC, wire form, of the persistent EK that swtpm_setup made (RSA 2048 at 0x81010001, or ECC P-384 at 0x81010016). Starts
// swtpm on the encrypted state for the moment, as a power cycle of the vTPM that no guest sees. Errors: "vtpm-convert-failed".
std::vector<uint8_t> VtpmEndorsementKey(const std::string& state_dir, const std::string& swtpm, const SecretBuffer& passphrase);

}  // namespace tvmmp
