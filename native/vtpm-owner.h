// Whom libvirt's swtpm runs as, and so whom a vTPM's state belongs to.
#pragma once

#include <sys/types.h>

#include <string>

namespace tvmmp {

struct VtpmOwner {
  uid_t uid;
  gid_t gid;
};

// swtpm_user and swtpm_group of libvirt's qemu.conf, which need not exist; by default tss, or root where there is no such user or
// group (libvirt qemu_conf.c). Where we are not root: ourselves. Throws "vtpm-manufacture-failed" for what libvirt would not take.
VtpmOwner OwnerOfVtpms(const std::string& qemu_conf);

}  // namespace tvmmp
