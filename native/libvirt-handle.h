// libvirt's handles, released by themselves, and its errors, copied on the thread that saw them. Links libvirt.
#pragma once

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include <memory>

#include "operation-error.h"

namespace tvmmp {

template <auto Release>
struct LibvirtRelease {
  template <typename T>
  void operator()(T* handle) const { Release(handle); }
};
using Connection = std::unique_ptr<virConnect, LibvirtRelease<virConnectClose>>;
using Domain = std::unique_ptr<virDomain, LibvirtRelease<virDomainFree>>;
using Secret = std::unique_ptr<virSecret, LibvirtRelease<virSecretFree>>;

// The calling thread's last libvirt error (it is thread-local: read anywhere else it is lost).
OperationError LastLibvirtError(const char* call);

// Installs an error function that prints nothing: libvirt writes every error to stderr otherwise. Process-wide.
void SilenceLibvirtErrors();

// libvirt's default event loop, on a thread of its own, which runs from the first call to the end of the process. Must come before
// any connection that wants events or keepalive. Throws OperationError.
void StartLibvirtEventLoop();

}  // namespace tvmmp
