// migrate(...): virDomainMigrateToURI3, which may take hours, on a thread and a connection of its own.
#pragma once

#include <napi.h>

namespace tvmmp {

// migrate({uri, uuid, destinationUri, flags, params: [{name, type, value}]}) -> Promise<undefined>
Napi::Value Migrate(const Napi::CallbackInfo& info);

}  // namespace tvmmp
