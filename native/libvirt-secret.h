// Gives a vTPM passphrase to libvirt: virSecretSetValue on a secret that is defined already.
#pragma once

#include <string>

#include "secret-buffer.h"

namespace tvmmp {

// Over a connection of its own, on the calling thread. libvirt.so.0 is opened at the first call, so that a host without libvirt
// (an authority, an auditor) can load the bridge. Errors: "libvirt-call-failed" with libvirt's code and domain.
void SetLibvirtSecret(const std::string& uri, const std::string& uuid, const SecretBuffer& value);

}  // namespace tvmmp
