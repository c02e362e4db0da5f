#include "libvirt-events.h"

#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <variant>
#include <vector>

#include "libvirt-handle.h"
#include "mailbox.h"
#include "operation.h"

namespace tvmmp {
namespace {

constexpr int kKeepAliveSeconds = 5;
constexpr unsigned kKeepAliveCount = 3;

using Value = std::variant<double, int64_t, uint64_t, bool, std::string>;
using Event = std::vector<std::pair<std::string, Value>>;
using Values = std::vector<std::pair<std::string, Value>>;

Napi::Value ToJavaScript(Napi::Env env, const Value& value) {
  if (auto* number = std::get_if<double>(&value)) return Napi::Number::New(env, *number);
  if (auto* number = std::get_if<int64_t>(&value)) return Napi::BigInt::New(env, *number);
  if (auto* number = std::get_if<uint64_t>(&value)) return Napi::BigInt::New(env, *number);
  if (auto* flag = std::get_if<bool>(&value)) return Napi::Boolean::New(env, *flag);
  return Napi::String::New(env, std::get<std::string>(value));
}

Napi::Object ToJavaScript(Napi::Env env, const Values& values) {
  Napi::Object object = Napi::Object::New(env);
  for (const auto& [name, value] : values) object.Set(name, ToJavaScript(env, value));
  return object;
}

// One subscription: a thread opens the connection, waits, and closes it. Everything that libvirt can make wait happens there; the
// event loop's thread only posts.
class Subscription : public std::enable_shared_from_this<Subscription> {
 public:
  Subscription(std::string uri, std::shared_ptr<Mailbox> mailbox) : uri_(std::move(uri)), mailbox_(std::move(mailbox)) {}

  void Run();
  // False when nothing needs to be waited for: the connection is still being made, and may never be.
  bool RequestClose();
  bool closing() {
    std::lock_guard<std::mutex> lock(mutex_);
    return closing_;
  }
  void PostEvent(Values event, const char* extra_name = nullptr, Values extra = {});
  void ConnectionClosed(int reason);

 private:
  void Attend();

  const std::string uri_;
  const std::shared_ptr<Mailbox> mailbox_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool closing_ = false;  // the user has closed it: no event from now on
  bool opened_ = false;
  bool broken_ = false;
};

// libvirt keeps one of these for each registration and frees it when the last call is over.
using Opaque = std::shared_ptr<Subscription>;
void* NewOpaque(const Opaque& subscription) { return new Opaque(subscription); }
void FreeOpaque(void* opaque) { delete static_cast<Opaque*>(opaque); }
Subscription& Self(void* opaque) { return **static_cast<Opaque*>(opaque); }

void AddDomain(Values& event, virDomainPtr domain) {
  char uuid[VIR_UUID_STRING_BUFLEN] = "";
  virDomainGetUUIDString(domain, uuid);
  const char* name = virDomainGetName(domain);
  event.emplace_back("uuid", std::string(uuid));
  event.emplace_back("name", std::string(name != nullptr ? name : ""));
}

int OnLifecycle(virConnectPtr, virDomainPtr domain, int event, int detail, void* opaque) {
  Values values = {{"kind", std::string("lifecycle")}};
  AddDomain(values, domain);
  values.emplace_back("event", static_cast<double>(event));
  values.emplace_back("detail", static_cast<double>(detail));
  Self(opaque).PostEvent(std::move(values));
  return 0;
}

Value ValueOf(const virTypedParameter& parameter) {
  switch (parameter.type) {
    case VIR_TYPED_PARAM_INT: return static_cast<double>(parameter.value.i);
    case VIR_TYPED_PARAM_UINT: return static_cast<double>(parameter.value.ui);
    case VIR_TYPED_PARAM_LLONG: return static_cast<int64_t>(parameter.value.l);
    case VIR_TYPED_PARAM_ULLONG: return static_cast<uint64_t>(parameter.value.ul);
    case VIR_TYPED_PARAM_DOUBLE: return parameter.value.d;
    case VIR_TYPED_PARAM_BOOLEAN: return parameter.value.b != 0;
    case VIR_TYPED_PARAM_STRING: return std::string(parameter.value.s != nullptr ? parameter.value.s : "");
    default: return std::string();
  }
}

void OnJobCompleted(virConnectPtr, virDomainPtr domain, virTypedParameterPtr parameters, int count, void* opaque) {
  Values values = {{"kind", std::string("job-completed")}};
  AddDomain(values, domain);
  Values statistics;
  for (int i = 0; i < count; i++) statistics.emplace_back(parameters[i].field, ValueOf(parameters[i]));
  Self(opaque).PostEvent(std::move(values), "params", std::move(statistics));
}

void OnClose(virConnectPtr, int reason, void* opaque) { Self(opaque).ConnectionClosed(reason); }

const char* ReasonWord(int reason) {
  switch (reason) {
    case VIR_CONNECT_CLOSE_REASON_EOF: return "eof";
    case VIR_CONNECT_CLOSE_REASON_KEEPALIVE: return "keepalive";
    case VIR_CONNECT_CLOSE_REASON_CLIENT: return "client";
    default: return "error";
  }
}

void Subscription::PostEvent(Values event, const char* extra_name, Values extra) {
  if (closing()) return;
  auto self = shared_from_this();
  mailbox_->Post([self, event = std::move(event), extra_name, extra = std::move(extra)](Napi::Env env, Napi::Function callback) {
    if (self->closing()) return;
    Napi::Object object = ToJavaScript(env, event);
    if (extra_name != nullptr) object.Set(extra_name, ToJavaScript(env, extra));
    CallBack(env, callback, object);
  });
}

void Subscription::ConnectionClosed(int reason) {
  PostEvent({{"kind", std::string("closed")}, {"reason", std::string(ReasonWord(reason))}});
  std::lock_guard<std::mutex> lock(mutex_);
  broken_ = true;
  changed_.notify_all();
}

bool Subscription::RequestClose() {
  std::lock_guard<std::mutex> lock(mutex_);
  closing_ = true;
  changed_.notify_all();
  return opened_;
}

// Registers, waits for the end, and takes everything back in reverse order.
void Subscription::Attend() {
  StartLibvirtEventLoop();
  Connection connection(virConnectOpen(uri_.c_str()));
  if (!connection) throw LastLibvirtError("virConnectOpen");
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (closing_) return;
    opened_ = true;
  }
  virConnectPtr c = connection.get();
  // A driver without keepalive (test:///) is refused with VIR_ERR_NO_SUPPORT or 1: it has no daemon that could die.
  if (virConnectSetKeepAlive(c, kKeepAliveSeconds, kKeepAliveCount) < 0) virResetLastError();
  Opaque self = shared_from_this();
  std::vector<int> registrations;
  bool close_callback = false;
  auto undo = [&]() {
    for (int id : registrations) virConnectDomainEventDeregisterAny(c, id);
    if (close_callback) virConnectUnregisterCloseCallback(c, OnClose);
  };
  auto add = [&](int id, virConnectDomainEventGenericCallback callback) {
    void* opaque = NewOpaque(self);
    int registration = virConnectDomainEventRegisterAny(c, nullptr, id, callback, opaque, FreeOpaque);
    if (registration < 0) {
      FreeOpaque(opaque);
      OperationError error = LastLibvirtError("virConnectDomainEventRegisterAny");
      undo();
      throw error;
    }
    registrations.push_back(registration);
  };
  void* opaque = NewOpaque(self);
  close_callback = virConnectRegisterCloseCallback(c, OnClose, opaque, FreeOpaque) == 0;
  if (!close_callback) {
    FreeOpaque(opaque);
    virResetLastError();
  }
  add(VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(OnLifecycle));
  add(VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, VIR_DOMAIN_EVENT_CALLBACK(OnJobCompleted));
  PostEvent({{"kind", std::string("connected")}});
  {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this]() { return closing_ || broken_; });
  }
  undo();
}

void Subscription::Run() {
  try {
    Attend();
  } catch (const OperationError& error) {
    Values event = {{"kind", std::string("closed")}, {"reason", std::string("open-failed")}, {"message", std::string(error.what())}};
    if (error.libvirt_code()) event.emplace_back("libvirtCode", static_cast<double>(*error.libvirt_code()));
    PostEvent(std::move(event));
  }
}

// What close() needs on JavaScript's side.
struct Handle {
  std::shared_ptr<Subscription> subscription;
  std::shared_ptr<Mailbox> mailbox;
  Napi::Promise::Deferred ended;
  void Resolve() {
    mailbox->Post([deferred = ended](Napi::Env env, Napi::Function) { deferred.Resolve(env.Undefined()); });
    mailbox->End();
  }
};

}  // namespace

Napi::Value Subscribe(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (info.Length() != 2 || !info[0].IsString() || !info[1].IsFunction()) throw Napi::TypeError::New(env, "subscribe(uri, callback)");
  auto mailbox = Mailbox::Create(env, "tvmmp:subscribe", info[1]);
  auto subscription = std::make_shared<Subscription>(info[0].As<Napi::String>().Utf8Value(), mailbox);
  auto handle = std::make_shared<Handle>(Handle{subscription, mailbox, Napi::Promise::Deferred(env)});
  Napi::Promise ended = handle->ended.Promise();

  try {
    StartThread([subscription, handle]() {
      subscription->Run();
      handle->Resolve();
    });
  } catch (const std::system_error& error) {
    mailbox->End();
    throw Napi::Error::New(env, error.what());
  }
  Napi::Object result = Napi::Object::New(env);
  result["ended"] = ended;
  result["close"] = Napi::Function::New(
      env,
      [handle](const Napi::CallbackInfo& call) -> Napi::Value {
        if (!handle->subscription->RequestClose()) handle->Resolve();
        return call.Env().Undefined();
      },
      "close");
  return result;
}

}  // namespace tvmmp
