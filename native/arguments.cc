#include "arguments.h"

#include <cmath>

namespace tvmmp {
namespace {

Napi::TypeError Unfit(const Napi::Object& from, const char* member, const std::string& want) {
  return Napi::TypeError::New(from.Env(), std::string(member) + ": " + want);
}

}  // namespace

Napi::Object RequireObject(const Napi::CallbackInfo& info, const char* usage) {
  if (info.Length() != 1 || !info[0].IsObject()) throw Napi::TypeError::New(info.Env(), usage);
  return info[0].As<Napi::Object>();
}

Napi::Object GetObject(const Napi::Object& from, const char* member) {
  Napi::Value value = from.Get(member);
  if (!value.IsObject()) throw Unfit(from, member, "an object is needed");
  return value.As<Napi::Object>();
}

Bytes GetBytes(const Napi::Object& from, const char* member, size_t min, size_t max) {
  Napi::Value value = from.Get(member);
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    throw Unfit(from, member, "a Uint8Array is needed");
  }
  auto array = value.As<Napi::Uint8Array>();
  if (array.ByteLength() < min || array.ByteLength() > max) {
    throw Unfit(from, member, std::to_string(min) + " to " + std::to_string(max) + " bytes are needed");
  }
  return Bytes(array.Data(), array.Data() + array.ByteLength());
}

std::string GetString(const Napi::Object& from, const char* member, size_t max) {
  Napi::Value value = from.Get(member);
  if (!value.IsString()) throw Unfit(from, member, "a string is needed");
  std::string text = value.As<Napi::String>().Utf8Value();
  if (text.empty() || text.size() > max || text.find('\0') != std::string::npos) {
    throw Unfit(from, member, "a string of 1 to " + std::to_string(max) + " bytes is needed");
  }
  return text;
}

uint32_t GetUint32(const Napi::Object& from, const char* member) {
  Napi::Value value = from.Get(member);
  double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0) || number > 4294967295.0 || std::floor(number) != number) throw Unfit(from, member, "a uint32 is needed");
  return static_cast<uint32_t>(number);
}

}  // namespace tvmmp
