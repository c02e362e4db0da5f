// Who a vTPM is: the public area of its endorsement key.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "secret-buffer.h"

namespace tvmmp {

struct VtpmEndorsement {
  std::vector<uint8_t> public_area;
  std::vector<uint8_t> certificate;  // what lies in the NV index of this key's certificate; empty where nothing can be read there. UNVERIFIED
};

// TPMT_PUBLIC, wire form, of the key that swtpm_setup made persistent: RSA-2048 (0x81010001), else P-384 (0x81010016). Where neither is
// there, of the one that TCG's template L-1 gives (EK Credential Profile 2.5, B.3.3), which is the same RSA key. `state_dir` holds
// tpm2-00.permall, encrypted. A swtpm of ours runs on a hard link of it, and what it writes is thrown away: the state stays as it was to
// the byte. Errors: "vtpm-busy" while a swtpm runs on it, "vtpm-read-failed".
VtpmEndorsement VtpmEndorsementKey(const std::string& state_dir, const std::string& swtpm, const SecretBuffer& passphrase);

}  // namespace tvmmp
