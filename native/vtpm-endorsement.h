// Who a vTPM is: the public area of its endorsement key.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "secret-buffer.h"
#include "swtpm-process.h"

namespace tvmmp {

struct VtpmEndorsement {
  std::vector<uint8_t> public_area;
  std::vector<uint8_t> issuer;       // likewise, in the first index for the chain above the certificate. UNVERIFIED
  std::vector<uint8_t> certificate;  // what lies in the NV index of this key's certificate; empty where nothing can be read there. UNVERIFIED
};

// kPlace: where swtpm_setup puts it, which a guest may have changed. kSeed: made anew from the vTPM's endorsement seed, whatever a guest did.
enum class EndorsementSource { kPlace, kSeed };

// TPMT_PUBLIC, wire form, of the key that swtpm_setup made persistent: RSA-2048 (0x81010001), else P-384 (0x81010016). Where neither is
// there, of the one that TCG's template L-1 gives (EK Credential Profile 2.5, B.3.3), which is the same RSA key. `state_dir` holds
// tpm2-00.permall, encrypted. A swtpm of ours runs on a hard link of it, and what it writes is thrown away: the state stays as it was to
// the byte. `running`: as libvirt's swtpm, which may run on it, wrote it last. Errors: "vtpm-busy" while a swtpm runs on it otherwise,
// "vtpm-read-failed".
VtpmEndorsement VtpmEndorsementKey(const std::string& state_dir, const std::string& swtpm, EndorsementSource source, bool running,
                                   const SecretBuffer& passphrase);

// Puts a certificate into the first NV index for certificates above those of the endorsement keys, for good: no guest can write there. The vTPM has
// just been started, and nobody else has: the platform's authorization is empty. Errors: "vtpm-read-failed".
void KeepIssuer(SwtpmProcess& vtpm, const std::vector<uint8_t>& certificate);

}  // namespace tvmmp
