// Makes the vTPM of a VM that has never started, as libvirt does at its first start, but encrypted from its birth.
#pragma once

#include <string>

#include "secret-buffer.h"

namespace tvmmp {

struct VtpmManufacture {
  std::string state_dir;    // to be made: /var/lib/libvirt/swtpm/<uuid>/tpm2
  std::string vm_id;        // NAME:UUID, for the subject of the vTPM's certificates
  std::string swtpm_setup;  // path of the program
  std::string swtpm;        // likewise
  std::string qemu_conf;    // libvirt's, for OwnerOfVtpms
};

// Runs swtpm_setup with libvirt's options (qemu_tpm.c, qemuTPMEmulatorRunSetup) as libvirt's swtpm user: endorsement keys, their
// certificates and a platform certificate; then powers it on once. The state directory appears whole, in a single rename, or not at all; one that holds
// anything is not overwritten. Errors: "vtpm-manufacture-failed", with what swtpm_setup said; "vtpm-busy" while another one is at it.
void ManufactureVtpm(const VtpmManufacture& wanted, const SecretBuffer& passphrase);

}  // namespace tvmmp
