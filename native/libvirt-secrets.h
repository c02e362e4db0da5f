// What may be known of libvirt's secrets (never a value: that is libvirt-secret.h's, in the bridge). Each call is short and has a thread
// and a connection of its own, so that none waits behind a call that waits for a hook.
#pragma once

#include <napi.h>

namespace tvmmp {

// listSecrets({uri}) -> Promise<{uuid, usageType: number, usageId}[]>
Napi::Value ListSecrets(const Napi::CallbackInfo& info);
// secretExists({uri, uuid}) -> Promise<boolean>
Napi::Value SecretExists(const Napi::CallbackInfo& info);
// defineSecret({uri, xml}) -> Promise<undefined>
Napi::Value DefineSecret(const Napi::CallbackInfo& info);
// undefineSecret({uri, uuid}) -> Promise<boolean>: false when there was none
Napi::Value UndefineSecret(const Napi::CallbackInfo& info);

}  // namespace tvmmp
