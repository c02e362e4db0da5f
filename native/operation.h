// Runs one operation on a thread of its own and settles a Promise with its result.
//
// Not on libuv's pool: it has four threads, and four calls that wait for a TPM or for libvirt there stop all file I/O.
#pragma once

#include <napi.h>
#include <pthread.h>
#include <signal.h>

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <system_error>
#include <thread>

#include "mailbox.h"
#include "operation-error.h"

namespace tvmmp {

inline Napi::Error ToJavaScript(Napi::Env env, const OperationError& failure) {
  Napi::Error error = Napi::Error::New(env, failure.what());
  error.Set("code", Napi::String::New(env, failure.code()));
  if (failure.tpm_code()) error.Set("tpmCode", Napi::Number::New(env, *failure.tpm_code()));
  if (failure.libvirt_code()) error.Set("libvirtCode", Napi::Number::New(env, *failure.libvirt_code()));
  if (failure.libvirt_domain()) error.Set("libvirtDomain", Napi::Number::New(env, *failure.libvirt_domain()));
  return error;
}

// Starts a thread that takes no signals (they are for the main thread) and that nobody joins. Throws std::system_error.
inline void StartThread(std::function<void()> body) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    std::thread(std::move(body)).detach();
  } catch (...) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

// `work` runs on the new thread and must not touch JavaScript; `convert` runs on JavaScript's thread afterwards. Node stays
// alive until the promise is settled.
template <typename Result>
Napi::Value RunOperation(Napi::Env env, const char* name, std::function<Result()> work,
                         std::function<Napi::Value(Napi::Env, const Result&)> convert) {
  Napi::Promise::Deferred deferred(env);
  auto mailbox = Mailbox::Create(env, name, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}));
  auto body = [mailbox, deferred, work = std::move(work), convert = std::move(convert)]() {
    auto result = std::make_shared<std::optional<Result>>();
    std::optional<OperationError> failure;
    try {
      result->emplace(work());
    } catch (const OperationError& error) {
      failure = error;
    } catch (const std::exception& error) {
      failure = OperationError("internal", error.what());
    }
    mailbox->Post([deferred, result, failure, convert](Napi::Env e, Napi::Function) {
      if (failure) deferred.Reject(ToJavaScript(e, *failure).Value());
      else deferred.Resolve(convert(e, **result));
    });
    mailbox->End();
  };
  try {
    StartThread(std::move(body));
  } catch (const std::system_error& error) {
    mailbox->End();
    deferred.Reject(ToJavaScript(env, OperationError("internal", error.what())).Value());
  }
  return deferred.Promise();
}

}  // namespace tvmmp
