// A new vTPM for a VM that has never started, encrypted from its birth.
#pragma once

#include <string>

#include "secret-buffer.h"

namespace tvmmp {

// What libvirt does at a VM's first start (qemu_tpm.c, qemuTPMEmulatorRunSetup): swtpm_setup makes EK, certificates and state in
// `state_dir`, which is made, with its parents, and given to `user`:`group` (libvirt's swtpm_user and swtpm_group; root where
// there is no such user, as libvirt does). State that is there is left as it is. Errors: "vtpm-convert-failed"; nothing half-made stays.
void ManufactureVtpm(const std::string& state_dir, const std::string& vm_id, const std::string& swtpm_setup, const std::string& user,
                     const std::string& group, const SecretBuffer& passphrase);

}  // namespace tvmmp
