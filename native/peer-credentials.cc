#include "peer-credentials.h"

#include <sys/socket.h>
#include <sys/types.h>

#include <cerrno>
#include <cstring>

namespace tvmmp {

Napi::Value PeerCredentials(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (info.Length() != 1 || !info[0].IsNumber()) throw Napi::TypeError::New(env, "peerCredentials(fd: number)");
  struct ucred credentials {};
  socklen_t length = sizeof(credentials);
  int fd = info[0].As<Napi::Number>().Int32Value();
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0 || length != sizeof(credentials)) {
    throw Napi::Error::New(env, std::string("SO_PEERCRED: ") + std::strerror(errno));
  }
  // A socket that nobody connected has pid 0 and uid -1: that is no peer, and must not look like one.
  if (credentials.pid <= 0) throw Napi::Error::New(env, "SO_PEERCRED: the socket has no peer");
  Napi::Object result = Napi::Object::New(env);
  result["pid"] = Napi::Number::New(env, credentials.pid);
  result["uid"] = Napi::Number::New(env, credentials.uid);
  result["gid"] = Napi::Number::New(env, credentials.gid);
  return result;
}

}  // namespace tvmmp
