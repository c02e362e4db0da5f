// subscribe(uri, callback): libvirt's lifecycle and job events, as plain objects.
#pragma once

#include <napi.h>

namespace tvmmp {

// Returns {close(): Promise<void>}. See lib/native/libvirt.ts for the events' shapes.
Napi::Value Subscribe(const Napi::CallbackInfo& info);

}  // namespace tvmmp
