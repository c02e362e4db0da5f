#include "mailbox.h"

namespace tvmmp {
namespace {

// False while the environment is being ended. node-addon-api's classes abort the process when a call fails then, so we ask first.
bool CanRunJavaScript(napi_env env) {
  napi_value object, undefined;
  return napi_create_object(env, &object) == napi_ok && napi_get_undefined(env, &undefined) == napi_ok &&
         napi_set_named_property(env, object, "probe", undefined) == napi_ok;
}

}  // namespace

std::shared_ptr<Mailbox> Mailbox::Create(Napi::Env env, const char* name, Napi::Value callback) {
  auto mailbox = std::make_shared<Mailbox>();
  // Owned by the threadsafe function, which says when it is gone.
  auto* owner = new std::shared_ptr<Mailbox>(mailbox);
  napi_status status = napi_create_threadsafe_function(env, callback, nullptr, Napi::String::New(env, name), 0, 1, owner, Finalized,
                                                       nullptr, Deliver, &mailbox->function_);
  if (status != napi_ok) {
    delete owner;
    throw Napi::Error::New(env);
  }
  // Added after the function's own hook, so it runs before it.
  napi_add_env_cleanup_hook(env, EnvironmentEnds, mailbox.get());
  return mailbox;
}

bool Mailbox::Post(Letter letter) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!open_) return false;
  auto owned = std::make_unique<Letter>(std::move(letter));
  if (napi_call_threadsafe_function(function_, owned.get(), napi_tsfn_nonblocking) != napi_ok) return false;
  owned.release();
  return true;
}

void Mailbox::End() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!open_) return;
  open_ = false;
  napi_release_threadsafe_function(function_, napi_tsfn_release);
}

void Mailbox::Deliver(napi_env env, napi_value callback, void*, void* data) {
  std::unique_ptr<Letter> letter(static_cast<Letter*>(data));
  if (env == nullptr) return;
  Napi::Env here(env);
  Napi::HandleScope scope(here);
  if (!CanRunJavaScript(env)) return;
  try {
    (*letter)(here, Napi::Function(env, callback));
  } catch (const Napi::Error& error) {
    napi_fatal_exception(env, error.Value());
  }
}

void Mailbox::EnvironmentEnds(void* self) {
  auto* mailbox = static_cast<Mailbox*>(self);
  std::lock_guard<std::mutex> lock(mailbox->mutex_);
  mailbox->open_ = false;
  mailbox->hook_pending_ = false;
}

void Mailbox::Finalized(napi_env env, void* data, void*) {
  std::unique_ptr<std::shared_ptr<Mailbox>> owner(static_cast<std::shared_ptr<Mailbox>*>(data));
  Mailbox* mailbox = owner->get();
  bool pending;
  {
    std::lock_guard<std::mutex> lock(mailbox->mutex_);
    mailbox->open_ = false;
    pending = mailbox->hook_pending_;
    mailbox->hook_pending_ = false;
  }
  if (pending) napi_remove_env_cleanup_hook(env, EnvironmentEnds, mailbox);
}

void CallBack(Napi::Env env, Napi::Function callback, Napi::Value argument) {
  napi_value undefined, value = argument, exception;
  if (napi_get_undefined(env, &undefined) != napi_ok) return;
  if (napi_call_function(env, undefined, callback, 1, &value, nullptr) == napi_ok) return;
  if (napi_get_and_clear_last_exception(env, &exception) != napi_ok) return;
  // Null when the environment is being ended from within the callback (process.exit in a Worker).
  napi_valuetype type = napi_null;
  if (napi_typeof(env, exception, &type) == napi_ok && type != napi_null && type != napi_undefined) napi_fatal_exception(env, exception);
}

}  // namespace tvmmp
