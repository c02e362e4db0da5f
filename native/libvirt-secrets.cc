#include "libvirt-secrets.h"

#include <cstdlib>
#include <string>
#include <vector>

#include "arguments.h"
#include "libvirt-handle.h"
#include "operation.h"

namespace tvmmp {
namespace {

constexpr size_t kUriBytesMax = 1024;
constexpr size_t kUuidBytesMax = 256;  // libvirt judges what is no UUID
constexpr size_t kXmlBytesMax = 64 * 1024;

struct Summary {
  std::string uuid;
  int usage_type;
  std::string usage_id;
};

struct Free {
  void operator()(virSecretPtr* list) const { std::free(list); }
};

Connection Open(const std::string& uri) {
  StartLibvirtEventLoop();  // for keepalive: a daemon that hangs must not keep this thread for ever
  Connection connection(virConnectOpen(uri.c_str()));
  if (!connection) throw LastLibvirtError("virConnectOpen");
  if (virConnectSetKeepAlive(connection.get(), 5, 2) < 0) virResetLastError();
  return connection;
}

bool LastErrorIsNoSecret() {
  virErrorPtr error = virGetLastError();
  return error != nullptr && error->code == VIR_ERR_NO_SECRET;
}

// Empty when there is no such secret.
Secret LookUp(const Connection& connection, const std::string& uuid) {
  Secret secret(virSecretLookupByUUIDString(connection.get(), uuid.c_str()));
  if (!secret && !LastErrorIsNoSecret()) throw LastLibvirtError("virSecretLookupByUUIDString");
  return secret;
}

Summary Summarize(const Secret& secret) {
  char uuid[VIR_UUID_STRING_BUFLEN];
  if (virSecretGetUUIDString(secret.get(), uuid) < 0) throw LastLibvirtError("virSecretGetUUIDString");
  int type = virSecretGetUsageType(secret.get());
  if (type < 0) throw LastLibvirtError("virSecretGetUsageType");
  const char* id = virSecretGetUsageID(secret.get());  // belongs to the handle
  if (id == nullptr) throw LastLibvirtError("virSecretGetUsageID");
  return Summary{uuid, type, id};
}

std::vector<Summary> List(const std::string& uri) {
  Connection connection = Open(uri);
  virSecretPtr* list = nullptr;
  int count = virConnectListAllSecrets(connection.get(), &list, 0);
  if (count < 0) throw LastLibvirtError("virConnectListAllSecrets");
  std::unique_ptr<virSecretPtr, Free> owned(list);
  std::vector<Secret> secrets(list, list + count);
  std::vector<Summary> summaries;
  for (const Secret& secret : secrets) summaries.push_back(Summarize(secret));
  return summaries;
}

bool Define(const std::string& uri, const std::string& xml) {
  Connection connection = Open(uri);
  Secret secret(virSecretDefineXML(connection.get(), xml.c_str(), 0));
  if (!secret) throw LastLibvirtError("virSecretDefineXML");
  return true;
}

bool Undefine(const std::string& uri, const std::string& uuid) {
  Connection connection = Open(uri);
  Secret secret = LookUp(connection, uuid);
  if (!secret) return false;
  if (virSecretUndefine(secret.get()) == 0) return true;
  if (LastErrorIsNoSecret()) return false;  // another was faster
  throw LastLibvirtError("virSecretUndefine");
}

Napi::Value ToBoolean(Napi::Env env, const bool& value) { return Napi::Boolean::New(env, value); }

Napi::Value ToArray(Napi::Env env, const std::vector<Summary>& summaries) {
  Napi::Array array = Napi::Array::New(env, summaries.size());
  for (uint32_t i = 0; i < summaries.size(); i++) {
    Napi::Object item = Napi::Object::New(env);
    item.Set("uuid", summaries[i].uuid);
    item.Set("usageType", summaries[i].usage_type);
    item.Set("usageId", summaries[i].usage_id);
    array.Set(i, item);
  }
  return array;
}

}  // namespace

Napi::Value ListSecrets(const Napi::CallbackInfo& info) {
  Napi::Object options = RequireObject(info, "listSecrets({uri})");
  std::string uri = GetString(options, "uri", kUriBytesMax);
  return RunOperation<std::vector<Summary>>(info.Env(), "tvmmp:listSecrets", [uri]() { return List(uri); }, ToArray);
}

Napi::Value SecretExists(const Napi::CallbackInfo& info) {
  Napi::Object options = RequireObject(info, "secretExists({uri, uuid})");
  std::string uri = GetString(options, "uri", kUriBytesMax);
  std::string uuid = GetString(options, "uuid", kUuidBytesMax);
  return RunOperation<bool>(
      info.Env(), "tvmmp:secretExists",
      [uri, uuid]() {
        Connection connection = Open(uri);
        return LookUp(connection, uuid) != nullptr;
      },
      ToBoolean);
}

Napi::Value DefineSecret(const Napi::CallbackInfo& info) {
  Napi::Object options = RequireObject(info, "defineSecret({uri, xml})");
  std::string uri = GetString(options, "uri", kUriBytesMax);
  std::string xml = GetString(options, "xml", kXmlBytesMax);
  return RunOperation<bool>(
      info.Env(), "tvmmp:defineSecret", [uri, xml]() { return Define(uri, xml); },
      [](Napi::Env env, const bool&) -> Napi::Value { return env.Undefined(); });
}

Napi::Value UndefineSecret(const Napi::CallbackInfo& info) {
  Napi::Object options = RequireObject(info, "undefineSecret({uri, uuid})");
  std::string uri = GetString(options, "uri", kUriBytesMax);
  std::string uuid = GetString(options, "uuid", kUuidBytesMax);
  return RunOperation<bool>(info.Env(), "tvmmp:undefineSecret", [uri, uuid]() { return Undefine(uri, uuid); }, ToBoolean);
}

}  // namespace tvmmp
