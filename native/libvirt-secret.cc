#include "libvirt-secret.h"

#include <dlfcn.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "operation-error.h"

namespace tvmmp {
namespace {

// The few functions of libvirt that are needed here.
struct Libvirt {
  decltype(&virInitialize) initialize;
  decltype(&virConnectOpen) open;
  decltype(&virConnectClose) close;
  decltype(&virSecretLookupByUUIDString) lookup;
  decltype(&virSecretSetValue) set_value;
  decltype(&virSecretFree) free;
  decltype(&virGetLastError) last_error;
  decltype(&virSetErrorFunc) set_error_func;

  static const Libvirt& Get() {
    static const Libvirt instance;  // a throwing constructor is tried again at the next call
    return instance;
  }

 private:
  template <typename F>
  static void Take(void* library, const char* name, F& function) {
    function = reinterpret_cast<F>(dlsym(library, name));
    if (function == nullptr) throw OperationError("libvirt-call-failed", std::string("libvirt.so.0 has no ") + name);
  }

  Libvirt() {
    void* library = dlopen("libvirt.so.0", RTLD_NOW | RTLD_LOCAL);  // never closed: libvirt keeps threads and TLS keys
    if (library == nullptr) throw OperationError("libvirt-call-failed", std::string("libvirt is not installed: ") + dlerror());
    Take(library, "virInitialize", initialize);
    Take(library, "virConnectOpen", open);
    Take(library, "virConnectClose", close);
    Take(library, "virSecretLookupByUUIDString", lookup);
    Take(library, "virSecretSetValue", set_value);
    Take(library, "virSecretFree", free);
    Take(library, "virGetLastError", last_error);
    Take(library, "virSetErrorFunc", set_error_func);
    if (initialize() != 0) throw OperationError("libvirt-call-failed", "virInitialize failed");
    set_error_func(nullptr, [](void*, virErrorPtr) {});  // libvirt would print on stderr what we report as errors
  }
};

// libvirt's last error belongs to the thread: copied here, where it was seen.
[[noreturn]] void Fail(const Libvirt& libvirt, const char* what) {
  virErrorPtr error = libvirt.last_error();
  if (error == nullptr) throw OperationError("libvirt-call-failed", std::string(what) + ": no reason given");
  throw OperationError::FromLibvirt(what, error->code, error->domain, error->message != nullptr ? error->message : "");
}

template <typename Handle>
class Owned {
 public:
  Owned(Handle* handle, int (*release)(Handle*)) : handle_(handle), release_(release) {}
  ~Owned() {
    if (handle_ != nullptr) release_(handle_);
  }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  Handle* get() const { return handle_; }

 private:
  Handle* handle_;
  int (*release_)(Handle*);
};

}  // namespace

void SetLibvirtSecret(const std::string& uri, const std::string& uuid, const SecretBuffer& value) {
  const Libvirt& libvirt = Libvirt::Get();
  Owned<virConnect> connection(libvirt.open(uri.c_str()), libvirt.close);
  if (connection.get() == nullptr) Fail(libvirt, "virConnectOpen");
  Owned<virSecret> secret(libvirt.lookup(connection.get(), uuid.c_str()), libvirt.free);
  if (secret.get() == nullptr) Fail(libvirt, "virSecretLookupByUUIDString");
  if (libvirt.set_value(secret.get(), value.data(), value.size(), 0) != 0) Fail(libvirt, "virSecretSetValue");
}

}  // namespace tvmmp
