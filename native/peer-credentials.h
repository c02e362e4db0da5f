// Who is at the other end of a UNIX socket (SO_PEERCRED): the agent asks before it serves a hook or the CLI.
#pragma once

#include <napi.h>

namespace tvmmp {

// peerCredentials(fd) -> {pid, uid, gid}: as the kernel recorded them when the peer connected.
Napi::Value PeerCredentials(const Napi::CallbackInfo& info);

}  // namespace tvmmp
