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
#include <thread>

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

// `work` runs on the new thread and must not touch JavaScript; `convert` runs on JavaScript's thread afterwards. Node stays
// alive until the promise is settled.
template <typename Result>
Napi::Value RunOperation(Napi::Env env, const char* name, std::function<Result()> work,
                         std::function<Napi::Value(Napi::Env, const Result&)> convert) {
  struct State {
    explicit State(Napi::Env e) : deferred(e) {}
    Napi::Promise::Deferred deferred;
    Napi::ThreadSafeFunction settle;
    std::function<Result()> work;
    std::function<Napi::Value(Napi::Env, const Result&)> convert;
    std::optional<Result> result;
    std::optional<OperationError> failure;
  };
  auto state = std::make_unique<State>(env);
  state->work = std::move(work);
  state->convert = std::move(convert);
  state->settle = Napi::ThreadSafeFunction::New(env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}), name, 0, 1);
  Napi::Promise promise = state->deferred.Promise();

  auto body = [](State* s) {
    try {
      s->result.emplace(s->work());
    } catch (const OperationError& error) {
      s->failure = error;
    } catch (const std::exception& error) {
      s->failure = OperationError("internal", error.what());
    }
    s->work = nullptr;
    Napi::ThreadSafeFunction settle = s->settle;
    auto finish = [](Napi::Env e, Napi::Function, State* done) {
      std::unique_ptr<State> owned(done);
      Napi::HandleScope scope(e);
      if (done->failure) done->deferred.Reject(ToJavaScript(e, *done->failure).Value());
      else done->deferred.Resolve(done->convert(e, *done->result));
    };
    // Refused only when the environment is being torn down: nobody waits for the promise then, and the State, which holds
    // handles of that environment, must not be destroyed from this thread.
    if (settle.BlockingCall(s, finish) == napi_ok) settle.Release();
  };

  // Signals are for the main thread.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    std::thread thread(body, state.get());
    thread.detach();
    state.release();
  } catch (const std::system_error& error) {
    state->settle.Release();
    state->deferred.Reject(ToJavaScript(env, OperationError("internal", error.what())).Value());
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return promise;
}

}  // namespace tvmmp
