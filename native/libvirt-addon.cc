// libvirt.node: what of libvirt needs a thread of its own. Other short calls go through lib/libvirt's FFI adapter.
#include <napi.h>

#include "libvirt-events.h"
#include "libvirt-handle.h"
#include "libvirt-migrate.h"
#include "libvirt-secrets.h"

// For a libvirt that FFI has loaded: the same library in this process, whose error function someone may have set again.
static Napi::Value SilenceErrors(const Napi::CallbackInfo& info) {
  tvmmp::SilenceLibvirtErrors();
  return info.Env().Undefined();
}

static Napi::Object InitLibvirt(Napi::Env env, Napi::Object exports) {
  // Here and not on a thread that connects: it sets up libcurl and libssh2, which use Node's OpenSSL, and crashed (seen) where exit took that down
  // meanwhile. It is done once; that it failed is said again to whoever connects.
  (void)virInitialize();
  tvmmp::SilenceLibvirtErrors();  // each is reported to the caller, with code and domain
  exports["subscribe"] = Napi::Function::New(env, tvmmp::Subscribe, "subscribe");
  exports["migrate"] = Napi::Function::New(env, tvmmp::Migrate, "migrate");
  exports["listSecrets"] = Napi::Function::New(env, tvmmp::ListSecrets, "listSecrets");
  exports["secretExists"] = Napi::Function::New(env, tvmmp::SecretExists, "secretExists");
  exports["defineSecret"] = Napi::Function::New(env, tvmmp::DefineSecret, "defineSecret");
  exports["undefineSecret"] = Napi::Function::New(env, tvmmp::UndefineSecret, "undefineSecret");
  exports["silenceErrors"] = Napi::Function::New(env, SilenceErrors, "silenceErrors");
  return exports;
}

NODE_API_MODULE(libvirt, InitLibvirt)
