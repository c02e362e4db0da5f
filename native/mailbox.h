// Carries work from any thread to the thread of one JavaScript environment, and survives that environment's end.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <mutex>

namespace tvmmp {

// A napi_threadsafe_function is deleted when its environment ends, whoever still holds it: a thread that posts at that moment would
// touch freed memory. So every use is under a lock together with a flag that a clean-up hook of the environment takes back first.
class Mailbox {
 public:
  using Letter = std::function<void(Napi::Env, Napi::Function)>;

  // On JavaScript's thread. `callback` may be empty; it is given to each letter. Node stays alive until End.
  static std::shared_ptr<Mailbox> Create(Napi::Env env, const char* name, Napi::Value callback);

  // From any thread; false when nobody will read it any more. The letter runs on JavaScript's thread, in order.
  bool Post(Letter letter);
  // From any thread: nothing more will be posted.
  void End();

 private:
  static void Deliver(napi_env env, napi_value callback, void* context, void* data);
  static void EnvironmentEnds(void* self);
  static void Finalized(napi_env env, void* data, void* hint);

  std::mutex mutex_;
  bool open_ = true;        // posting is allowed
  bool hook_pending_ = true;
  napi_threadsafe_function function_ = nullptr;
};

// Calls a user's function from a letter. What it throws becomes an uncaughtException; an environment that it ends stays ended.
void CallBack(Napi::Env env, Napi::Function callback, Napi::Value argument);

}  // namespace tvmmp
