// Takes what an operation needs out of its JavaScript argument, copied, before the operation's thread starts.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>
#include <vector>

namespace tvmmp {

using Bytes = std::vector<uint8_t>;

// All of them throw a JavaScript TypeError that names the member.
Napi::Object RequireObject(const Napi::CallbackInfo& info, const char* usage);
Napi::Object GetObject(const Napi::Object& from, const char* member);
Bytes GetBytes(const Napi::Object& from, const char* member, size_t min, size_t max);
std::string GetString(const Napi::Object& from, const char* member, size_t max);
uint32_t GetUint32(const Napi::Object& from, const char* member);

}  // namespace tvmmp
