// Converts the state of an existing vTPM from clear to encrypted, when a VM is first protected, and back.
#pragma once

#include <string>

#include "secret-buffer.h"

namespace tvmmp {

enum class Conversion { kEncrypt, kDecrypt };

// `state_dir` holds swtpm's tpm2-00.permall (libvirt: /var/lib/libvirt/swtpm/<uuid>/tpm2). At every instant it holds either the
// old or the new state, whole, and the same vTPM: the new one is made and checked beside it and renamed over it. Owner, group and
// mode are kept. A state that is as asked already, with this key, is left as it is. Errors: "vtpm-busy" while a swtpm runs on it or the VM is saved, "vtpm-convert-failed".
void ConvertVtpmState(Conversion conversion, const std::string& state_dir, const std::string& swtpm, const SecretBuffer& passphrase);

}  // namespace tvmmp
