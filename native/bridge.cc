// bridge.node: everything that touches the vTPM passphrase, and SO_PEERCRED. JavaScript gives and gets only what is not secret.
#include <napi.h>

#include <cstdlib>

#include "arguments.h"
#include "escrow-key.h"
#include "libvirt-secret.h"
#include "operation.h"
#include "own-key.h"
#include "peer-credentials.h"
#include "receive-key.h"
#include "sealed-key.h"
#include "vtpm-endorsement.h"
#include "vtpm-manufacture.h"
#include "vtpm-owner.h"
#include "vtpm-state.h"

namespace tvmmp {
namespace {

constexpr size_t kContextBytesMax = 1024;
constexpr size_t kPublicBytesMax = 512;
constexpr size_t kSealedBytesMax = 4096;
constexpr uint32_t kGatheredMax = 1024;
constexpr size_t kPathBytesMax = 4000;
constexpr size_t kVmIdBytesMax = 1024;
constexpr size_t kCertificateBytesMax = 2048;  // of an NV index of libtpms

ReceiveKeyUse TakeReceiveKeyUse(const Napi::Object& from) {
  Napi::Object approval = GetObject(from, "approval");
  ReceiveKeyUse use;
  use.tcti = GetString(from, "tcti", 1024);
  use.receive_key_handle = GetUint32(from, "receiveKeyHandle");
  use.receive_public = GetBytes(from, "receivePublic", 1, kPublicBytesMax);
  use.approval.pcr_selection = GetBytes(approval, "pcrSelection", 4, 256);
  use.approval.approved_policy = GetBytes(approval, "approvedPolicy", 32, 32);
  use.approval.policy_ref = GetBytes(approval, "policyRef", 0, 64);
  use.approval.key_sign_name = GetBytes(approval, "keySignName", 34, 34);
  use.approval.ticket = GetBytes(approval, "ticket", 8, 128);
  return use;
}

OwnKey TakeOwnKey(const Napi::Object& from) {
  return {TakeReceiveKeyUse(from), GetBytes(from, "blob", 0, kSealedBytesMax), GetBytes(from, "context", 1, kContextBytesMax),
          from.Has("hold") ? GetUint32(from, "hold") : 0};
}

template <typename Container>
Napi::Value ToUint8Array(Napi::Env env, const Container& bytes) {
  Napi::Uint8Array array = Napi::Uint8Array::New(env, bytes.size());
  std::copy(bytes.begin(), bytes.end(), array.Data());
  return array;
}

Napi::Value CommandsOnly(Napi::Env env, const uint32_t& commands) {
  Napi::Object result = Napi::Object::New(env);
  result["tpmCommands"] = Napi::Number::New(env, commands);
  return result;
}

Napi::Value CreateSealedKey(const Napi::CallbackInfo& info) {
  Napi::Object options = RequireObject(info, "createSealedKey({recipientPublic, context})");
  auto work = [recipient = GetBytes(options, "recipientPublic", 1, kPublicBytesMax),
               context = GetBytes(options, "context", 1, kContextBytesMax)]() {
    return Seal(RandomKey(), Envelope::To(ReceiveKey::Parse(recipient)), context);
  };
  return RunOperation<SealedKey>(info.Env(), "tvmmp:createSealedKey", work, ToUint8Array<SealedKey>);
}

Napi::Value UnsealIntoLibvirt(const Napi::CallbackInfo& info) {
  Napi::Object options = RequireObject(info, "unsealIntoLibvirt({tcti, receiveKeyHandle, ..., libvirtUri, secretUuid})");
  auto work = [own = TakeOwnKey(options), uri = GetString(options, "libvirtUri", 1024), uuid = GetString(options, "secretUuid", 36)]() {
    Unsealed unsealed = Unseal(own);
    SetLibvirtSecret(uri, uuid, HexOf(unsealed.raw_key));
    return unsealed.tpm_commands;
  };
  return RunOperation<uint32_t>(info.Env(), "tvmmp:unsealIntoLibvirt", work, CommandsOnly);
}

struct Resealed {
  SealedKey sealed;
  uint32_t tpm_commands;
};

Napi::Value ResealedToJavaScript(Napi::Env env, const Resealed& resealed) {
  Napi::Object result = Napi::Object::New(env);
  result["blob"] = ToUint8Array(env, resealed.sealed);
  result["tpmCommands"] = Napi::Number::New(env, resealed.tpm_commands);
  return result;
}

Napi::Value ResealForDestination(const Napi::CallbackInfo& info) {
  Napi::Object options = RequireObject(info, "resealForDestination({own, destinationPublic, destinationContext})");
  auto work = [own = TakeOwnKey(GetObject(options, "own")), recipient = GetBytes(options, "destinationPublic", 1, kPublicBytesMax),
               context = GetBytes(options, "destinationContext", 1, kContextBytesMax)]() {
    ReceiveKey destination = ReceiveKey::Parse(recipient);  // before the TPM is asked
    Unsealed unsealed = Unseal(own);
    return Resealed{unsealed.opened->SealFor(destination, unsealed.raw_key, context), unsealed.tpm_commands};
  };
  return RunOperation<Resealed>(info.Env(), "tvmmp:resealForDestination", work, ResealedToJavaScript);
}

Napi::Value SealForEscrow(const Napi::CallbackInfo& info) {
  Napi::Object options = RequireObject(info, "sealForEscrow({own, escrowPublic, escrowContext})");
  auto work = [own = TakeOwnKey(GetObject(options, "own")), spki = GetBytes(options, "escrowPublic", 1, kPublicBytesMax),
               context = GetBytes(options, "escrowContext", 1, kContextBytesMax)]() {
    Recipient escrow = ParseEscrowKey(spki);  // before the TPM is asked
    Unsealed unsealed = Unseal(own);
    return Resealed{Seal(unsealed.raw_key, Envelope::To(escrow), context), unsealed.tpm_commands};
  };
  return RunOperation<Resealed>(info.Env(), "tvmmp:sealForEscrow", work, ResealedToJavaScript);
}

EscrowKeyFile TakeEscrowKeyFile(const Napi::Object& from) {
  EscrowKeyFile file{.path = GetString(from, "keyFile", kPathBytesMax), .passphrase_path = std::nullopt};
  if (from.Has("passphraseFile")) file.passphrase_path = GetString(from, "passphraseFile", kPathBytesMax);
  return file;
}

Napi::Value CreateEscrowKey(const Napi::CallbackInfo& info) {
  Napi::Object options = RequireObject(info, "createEscrowKey({keyFile})");
  auto work = [file = TakeEscrowKeyFile(options)]() { return MakeEscrowKey(file); };
  return RunOperation<std::vector<uint8_t>>(info.Env(), "tvmmp:createEscrowKey", work, ToUint8Array<std::vector<uint8_t>>);
}

Napi::Value ResealFromEscrow(const Napi::CallbackInfo& info) {
  Napi::Object options =
      RequireObject(info, "resealFromEscrow({keyFile, escrowPublic, blob, escrowContext, destinationPublic, destinationContext})");
  auto work = [file = TakeEscrowKeyFile(options), spki = GetBytes(options, "escrowPublic", 1, kPublicBytesMax),
               blob = GetBytes(options, "blob", 0, kSealedBytesMax), from = GetBytes(options, "escrowContext", 1, kContextBytesMax),
               recipient = GetBytes(options, "destinationPublic", 1, kPublicBytesMax),
               to = GetBytes(options, "destinationContext", 1, kContextBytesMax)]() {
    ReceiveKey destination = ReceiveKey::Parse(recipient);
    return Seal(OpenEscrowed(file, spki, blob, from), Envelope::To(destination), to);
  };
  return RunOperation<SealedKey>(info.Env(), "tvmmp:resealFromEscrow", work, ToUint8Array<SealedKey>);
}

Napi::Value PrepareReceiveKey(const Napi::CallbackInfo& info) {
  Napi::Object options = RequireObject(info, "prepareReceiveKey({tcti, receiveKeyHandle, receivePublic, approval})");
  auto work = [use = TakeReceiveKeyUse(options)]() { return Prepare(use); };
  return RunOperation<uint32_t>(info.Env(), "tvmmp:prepareReceiveKey", work, CommandsOnly);
}

Napi::Value UnprepareReceiveKey(const Napi::CallbackInfo& info) {
  auto work = []() {
    Unprepare();
    return uint32_t{0};
  };
  return RunOperation<uint32_t>(info.Env(), "tvmmp:unprepareReceiveKey", work, CommandsOnly);
}

Napi::Value HoldKeys(const Napi::CallbackInfo& info) {
  Napi::Object options = RequireObject(info, "holdKeys({own, lifeMs})");
  auto work = [own = TakeOwnKey(GetObject(options, "own")), life = std::chrono::milliseconds(GetUint32(options, "lifeMs"))]() {
    return Hold(own, life);
  };
  return RunOperation<Held>(info.Env(), "tvmmp:holdKeys", work, [](Napi::Env env, const Held& held) -> Napi::Value {
    Napi::Object result = Napi::Object::New(env);
    result["hold"] = Napi::Number::New(env, held.hold);
    result["tpmCommands"] = Napi::Number::New(env, held.tpm_commands);
    return result;
  });
}

// On JavaScript's own thread: the TPM is not asked.
Napi::Value ReleaseKeys(const Napi::CallbackInfo& info) {
  Release(GetUint32(RequireObject(info, "releaseKeys({hold})"), "hold"));
  return info.Env().Undefined();
}

Napi::Value GatherSealedKeys(const Napi::CallbackInfo& info) {
  Napi::Object options = RequireObject(info, "gatherSealedKeys({own, others: [{blob, context}]})");
  Napi::Value list = options.Get("others");
  if (!list.IsArray() || list.As<Napi::Array>().Length() > kGatheredMax) throw Napi::TypeError::New(info.Env(), "others: an array is needed");
  std::vector<std::pair<std::vector<uint8_t>, std::vector<uint8_t>>> others;
  for (uint32_t i = 0; i < list.As<Napi::Array>().Length(); i++) {
    Napi::Value other = list.As<Napi::Array>().Get(i);
    if (!other.IsObject()) throw Napi::TypeError::New(info.Env(), "others: objects are needed");
    Napi::Object from = other.As<Napi::Object>();
    others.emplace_back(GetBytes(from, "blob", 0, kSealedBytesMax), GetBytes(from, "context", 1, kContextBytesMax));
  }
  auto work = [own = TakeOwnKey(GetObject(options, "own")), others = std::move(others)]() { return Gather(own, others); };
  return RunOperation<Gathered>(info.Env(), "tvmmp:gatherSealedKeys", work, [](Napi::Env env, const Gathered& gathered) -> Napi::Value {
    Napi::Object result = Napi::Object::New(env);
    Napi::Array blobs = Napi::Array::New(env, gathered.sealed.size());
    for (size_t i = 0; i < gathered.sealed.size(); i++) blobs[static_cast<uint32_t>(i)] = ToUint8Array(env, gathered.sealed[i]);
    result["blobs"] = blobs;
    result["tpmCommands"] = Napi::Number::New(env, gathered.tpm_commands);
    return result;
  });
}

Napi::Value ConvertVtpm(const Napi::CallbackInfo& info) {
  Napi::Object options = RequireObject(info, "convertVtpmState({direction, stateDir, swtpmPath, own})");
  std::string direction = GetString(options, "direction", 16);
  if (direction != "encrypt" && direction != "decrypt") throw Napi::TypeError::New(info.Env(), "direction: 'encrypt' or 'decrypt' is needed");
  auto work = [own = TakeOwnKey(GetObject(options, "own")), dir = GetString(options, "stateDir", kPathBytesMax),
               swtpm = GetString(options, "swtpmPath", kPathBytesMax),
               conversion = direction == "encrypt" ? Conversion::kEncrypt : Conversion::kDecrypt]() {
    Unsealed unsealed = Unseal(own);
    ConvertVtpmState(conversion, dir, swtpm, HexOf(unsealed.raw_key));
    return unsealed.tpm_commands;
  };
  return RunOperation<uint32_t>(info.Env(), "tvmmp:convertVtpmState", work, CommandsOnly);
}

Napi::Value Manufacture(const Napi::CallbackInfo& info) {
  Napi::Object options = RequireObject(info, "manufactureVtpm({stateDir, vmId, own, swtpmSetupPath, swtpmPath, qemuConf})");
  auto work = [own = TakeOwnKey(GetObject(options, "own")),
               wanted = VtpmManufacture{.state_dir = GetString(options, "stateDir", kPathBytesMax),
                                        .vm_id = GetString(options, "vmId", kVmIdBytesMax),
                                        .swtpm_setup = GetString(options, "swtpmSetupPath", kPathBytesMax),
                                        .swtpm = GetString(options, "swtpmPath", kPathBytesMax),
                                        .qemu_conf = GetString(options, "qemuConf", kPathBytesMax),
                                        .setup_config = options.Has("setupConfig") ? GetString(options, "setupConfig", kPathBytesMax) : "",
                                        .issuer = options.Has("issuer") ? GetBytes(options, "issuer", 1, kCertificateBytesMax)
                                                                        : std::vector<uint8_t>{}}]() {
    Unsealed unsealed = Unseal(own);
    ManufactureVtpm(wanted, HexOf(unsealed.raw_key));
    return unsealed.tpm_commands;
  };
  return RunOperation<uint32_t>(info.Env(), "tvmmp:manufactureVtpm", work, CommandsOnly);
}

struct Endorsement {
  VtpmEndorsement key;
  uint32_t tpm_commands;
};

Napi::Value ReadEndorsementKey(const Napi::CallbackInfo& info) {
  Napi::Object options = RequireObject(info, "vtpmEndorsementKey({stateDir, own, swtpmPath, from, running})");
  std::string from = GetString(options, "from", 16);
  if (from != "place" && from != "seed") throw Napi::TypeError::New(info.Env(), "from: 'place' or 'seed' is needed");
  auto work = [own = TakeOwnKey(GetObject(options, "own")), dir = GetString(options, "stateDir", kPathBytesMax),
               swtpm = GetString(options, "swtpmPath", kPathBytesMax), source = from == "seed" ? EndorsementSource::kSeed : EndorsementSource::kPlace,
               running = options.Get("running").ToBoolean().Value()]() {
    Unsealed unsealed = Unseal(own);
    return Endorsement{VtpmEndorsementKey(dir, swtpm, source, running, HexOf(unsealed.raw_key)), unsealed.tpm_commands};
  };
  return RunOperation<Endorsement>(info.Env(), "tvmmp:vtpmEndorsementKey", work, [](Napi::Env env, const Endorsement& read) -> Napi::Value {
    Napi::Object result = Napi::Object::New(env);
    result["publicArea"] = ToUint8Array(env, read.key.public_area);
    result["certificate"] = ToUint8Array(env, read.key.certificate);
    result["issuer"] = ToUint8Array(env, read.key.issuer);
    result["tpmCommands"] = Napi::Number::New(env, read.tpm_commands);
    return result;
  });
}

Napi::Value OwnerOf(const Napi::CallbackInfo& info) {
  Napi::Object options = RequireObject(info, "vtpmOwner({qemuConf})");
  auto work = [conf = GetString(options, "qemuConf", kPathBytesMax)]() { return OwnerOfVtpms(conf); };
  return RunOperation<VtpmOwner>(info.Env(), "tvmmp:vtpmOwner", work, [](Napi::Env env, const VtpmOwner& owner) -> Napi::Value {
    Napi::Object result = Napi::Object::New(env);
    result["uid"] = Napi::Number::New(env, owner.uid);
    result["gid"] = Napi::Number::New(env, owner.gid);
    return result;
  });
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  setenv("TSS2_LOG", "all+NONE", 0);  // the TSS would print on stderr what we report as errors; an operator may set it otherwise
  exports["peerCredentials"] = Napi::Function::New(env, PeerCredentials, "peerCredentials");
  exports["createSealedKey"] = Napi::Function::New(env, CreateSealedKey, "createSealedKey");
  exports["unsealIntoLibvirt"] = Napi::Function::New(env, UnsealIntoLibvirt, "unsealIntoLibvirt");
  exports["resealForDestination"] = Napi::Function::New(env, ResealForDestination, "resealForDestination");
  exports["createEscrowKey"] = Napi::Function::New(env, CreateEscrowKey, "createEscrowKey");
  exports["sealForEscrow"] = Napi::Function::New(env, SealForEscrow, "sealForEscrow");
  exports["resealFromEscrow"] = Napi::Function::New(env, ResealFromEscrow, "resealFromEscrow");
  exports["prepareReceiveKey"] = Napi::Function::New(env, PrepareReceiveKey, "prepareReceiveKey");
  exports["unprepareReceiveKey"] = Napi::Function::New(env, UnprepareReceiveKey, "unprepareReceiveKey");
  exports["holdKeys"] = Napi::Function::New(env, HoldKeys, "holdKeys");
  exports["releaseKeys"] = Napi::Function::New(env, ReleaseKeys, "releaseKeys");
  exports["gatherSealedKeys"] = Napi::Function::New(env, GatherSealedKeys, "gatherSealedKeys");
  exports["convertVtpmState"] = Napi::Function::New(env, ConvertVtpm, "convertVtpmState");
  exports["manufactureVtpm"] = Napi::Function::New(env, Manufacture, "manufactureVtpm");
  exports["vtpmOwner"] = Napi::Function::New(env, OwnerOf, "vtpmOwner");
  exports["vtpmEndorsementKey"] = Napi::Function::New(env, ReadEndorsementKey, "vtpmEndorsementKey");
  return exports;
}

}  // namespace
}  // namespace tvmmp

static Napi::Object InitBridge(Napi::Env env, Napi::Object exports) { return tvmmp::Init(env, exports); }

NODE_API_MODULE(bridge, InitBridge)
