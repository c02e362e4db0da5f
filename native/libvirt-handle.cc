#include "libvirt-handle.h"

#include <mutex>

#include "operation.h"

namespace tvmmp {

OperationError LastLibvirtError(const char* call) {
  virErrorPtr error = virGetLastError();
  if (error == nullptr) return OperationError("libvirt-call-failed", std::string(call) + ": no reason given");
  return OperationError::FromLibvirt(call, error->code, error->domain, error->message != nullptr ? error->message : "");
}

void SilenceLibvirtErrors() {
  virSetErrorFunc(nullptr, [](void*, virErrorPtr) {});
}

void StartLibvirtEventLoop() {
  // Never destroyed: the loop's thread may outlast the destructors of static objects when the process exits.
  static std::mutex* mutex = new std::mutex;
  static bool started = false;
  std::lock_guard<std::mutex> lock(*mutex);
  if (started) return;
  if (virInitialize() != 0) throw LastLibvirtError("virInitialize");
  if (virEventRegisterDefaultImpl() != 0) throw LastLibvirtError("virEventRegisterDefaultImpl");
  // A timer that never fires: without any handle or timer an iteration might return at once.
  if (virEventAddTimeout(-1, [](int, void*) {}, nullptr, nullptr) < 0) throw LastLibvirtError("virEventAddTimeout");
  StartThread([]() {
    for (;;) virEventRunDefaultImpl();
  });
  started = true;
}

}  // namespace tvmmp
