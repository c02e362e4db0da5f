#include "libvirt-migrate.h"

#include <cmath>
#include <variant>
#include <vector>

#include "arguments.h"
#include "libvirt-handle.h"
#include "operation.h"

namespace tvmmp {
namespace {

constexpr size_t kStringBytesMax = 4 * 1024 * 1024;  // an XML

using Number = std::variant<int, unsigned, long long, unsigned long long, double, bool, std::string>;
struct Parameter {
  std::string name;
  Number value;
};

struct Request {
  std::string uri;
  std::string uuid;
  std::string destination_uri;
  unsigned flags;
  std::vector<Parameter> parameters;
};

double GetWhole(const Napi::Object& from, double low, double high) {
  double number = from.Get("value").IsNumber() ? from.Get("value").As<Napi::Number>().DoubleValue() : std::nan("");
  if (!(number >= low && number <= high) || std::floor(number) != number) {
    throw Napi::TypeError::New(from.Env(), "params: a whole number of the type's range is needed");
  }
  return number;
}

// A 64-bit value may come as a bigint or as a safe integer.
template <typename Wide>
Wide GetWide(const Napi::Object& from) {
  if (!from.Get("value").IsBigInt()) {
    return static_cast<Wide>(GetWhole(from, std::is_signed_v<Wide> ? -9007199254740991.0 : 0, 9007199254740991.0));
  }
  bool lossless = false;
  Napi::BigInt big = from.Get("value").As<Napi::BigInt>();
  Wide value = std::is_signed_v<Wide> ? static_cast<Wide>(big.Int64Value(&lossless)) : static_cast<Wide>(big.Uint64Value(&lossless));
  if (!lossless) throw Napi::TypeError::New(from.Env(), "params: a value of 64 bits is needed");
  return value;
}

Parameter TakeParameter(const Napi::Object& from) {
  std::string type = GetString(from, "type", 16);
  Parameter parameter{GetString(from, "name", VIR_TYPED_PARAM_FIELD_LENGTH - 1), 0};
  Napi::Value value = from.Get("value");
  if (type == "string") parameter.value = GetString(from, "value", kStringBytesMax);
  else if (type == "int") parameter.value = static_cast<int>(GetWhole(from, -2147483648.0, 2147483647.0));
  else if (type == "uint") parameter.value = static_cast<unsigned>(GetWhole(from, 0, 4294967295.0));
  else if (type == "llong") parameter.value = GetWide<long long>(from);
  else if (type == "ullong") parameter.value = GetWide<unsigned long long>(from);
  else if (type == "double" && value.IsNumber()) parameter.value = value.As<Napi::Number>().DoubleValue();
  else if (type == "boolean" && value.IsBoolean()) parameter.value = value.As<Napi::Boolean>().Value();
  else throw Napi::TypeError::New(from.Env(), "params: type and value do not fit");
  return parameter;
}

class TypedParameters {
 public:
  ~TypedParameters() { virTypedParamsFree(list_, count_); }
  void Add(const Parameter& p) {
    int done = std::visit(
        [this, name = p.name.c_str()](const auto& value) {
          using T = std::decay_t<decltype(value)>;
          if constexpr (std::is_same_v<T, int>) return virTypedParamsAddInt(&list_, &count_, &room_, name, value);
          else if constexpr (std::is_same_v<T, unsigned>) return virTypedParamsAddUInt(&list_, &count_, &room_, name, value);
          else if constexpr (std::is_same_v<T, long long>) return virTypedParamsAddLLong(&list_, &count_, &room_, name, value);
          else if constexpr (std::is_same_v<T, unsigned long long>) return virTypedParamsAddULLong(&list_, &count_, &room_, name, value);
          else if constexpr (std::is_same_v<T, double>) return virTypedParamsAddDouble(&list_, &count_, &room_, name, value);
          else if constexpr (std::is_same_v<T, bool>) return virTypedParamsAddBoolean(&list_, &count_, &room_, name, value ? 1 : 0);
          else return virTypedParamsAddString(&list_, &count_, &room_, name, value.c_str());
        },
        p.value);
    if (done < 0) throw LastLibvirtError("virTypedParamsAdd");
  }
  virTypedParameterPtr list() { return list_; }
  unsigned count() const { return static_cast<unsigned>(count_); }

 private:
  virTypedParameterPtr list_ = nullptr;
  int count_ = 0;
  int room_ = 0;
};

bool Move(const Request& request) {
  StartLibvirtEventLoop();  // for keepalive: a daemon that died must not keep us waiting for ever
  Connection connection(virConnectOpen(request.uri.c_str()));
  if (!connection) throw LastLibvirtError("virConnectOpen");
  if (virConnectSetKeepAlive(connection.get(), 5, 6) < 0) virResetLastError();
  Domain domain(virDomainLookupByUUIDString(connection.get(), request.uuid.c_str()));
  if (!domain) throw LastLibvirtError("virDomainLookupByUUIDString");
  TypedParameters parameters;
  for (const Parameter& parameter : request.parameters) parameters.Add(parameter);
  if (virDomainMigrateToURI3(domain.get(), request.destination_uri.c_str(), parameters.list(), parameters.count(), request.flags) != 0) {
    throw LastLibvirtError("virDomainMigrateToURI3");
  }
  return true;
}

}  // namespace

Napi::Value Migrate(const Napi::CallbackInfo& info) {
  Napi::Object options = RequireObject(info, "migrate({uri, uuid, destinationUri, flags, params})");
  Request request;
  request.uri = GetString(options, "uri", 1024);
  request.uuid = GetString(options, "uuid", 36);
  request.destination_uri = GetString(options, "destinationUri", 1024);
  request.flags = GetUint32(options, "flags");
  Napi::Value params = options.Get("params");
  if (!params.IsArray() || params.As<Napi::Array>().Length() > 256) throw Napi::TypeError::New(info.Env(), "params: an array is needed");
  Napi::Array list = params.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) {
    Napi::Value item = list.Get(i);
    if (!item.IsObject()) throw Napi::TypeError::New(info.Env(), "params: objects are needed");
    request.parameters.push_back(TakeParameter(item.As<Napi::Object>()));
  }
  return RunOperation<bool>(
      info.Env(), "tvmmp:migrate", [request = std::move(request)]() { return Move(request); },
      [](Napi::Env env, const bool&) -> Napi::Value { return env.Undefined(); });
}

}  // namespace tvmmp
