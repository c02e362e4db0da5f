// bridge.node: everything that touches the vTPM passphrase, and SO_PEERCRED.
#include <napi.h>

#include "peer-credentials.h"

namespace {

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports["peerCredentials"] = Napi::Function::New(env, tvmmp::PeerCredentials, "peerCredentials");
  return exports;
}

}  // namespace

NODE_API_MODULE(bridge, Init)
