// Makes the vTPM of a VM that has never started, as libvirt does at its first start, but encrypted from its birth.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "secret-buffer.h"

namespace tvmmp {

struct VtpmManufacture {
  std::string state_dir;    // to be made: /var/lib/libvirt/swtpm/<uuid>/tpm2
  std::string vm_id;        // NAME:UUID, for the subject of the vTPM's certificates
  std::string swtpm_setup;  // path of the program
  std::string swtpm;        // likewise
  std::string qemu_conf;    // libvirt's, for OwnerOfVtpms
  std::string setup_config; // of swtpm_setup, naming who certifies the endorsement keys; empty: the host's own, as libvirt does
  std::vector<uint8_t> issuer;  // DER of the certificate above those, for the vTPM to keep; empty: none
};

// Runs swtpm_setup with libvirt's options (qemu_tpm.c, qemuTPMEmulatorRunSetup) as libvirt's swtpm user: endorsement keys, their
// certificates and (by the host's own configuration) a platform certificate; then powers it on once, when the certificate of their issuer is put
// beside them. The state directory appears whole, in a single rename, or not at all; one that holds
// anything is not overwritten. Errors: "vtpm-manufacture-failed", with what swtpm_setup said; "vtpm-busy" while another one is at it.
void ManufactureVtpm(const VtpmManufacture& wanted, const SecretBuffer& passphrase);

}  // namespace tvmmp
