#include "vtpm-endorsement.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <utility>

#include "operation-error.h"
#include "swtpm-process.h"
#include "vtpm-command.h"
#include "vtpm-directory.h"

namespace tvmmp {
namespace {

namespace fs = std::filesystem;
using Bytes = WireBytes;

// TPM 2.0 Part 2: command codes, handles, response codes.
constexpr uint32_t kCreatePrimary = 0x131;
constexpr uint32_t kReadPublic = 0x173;
constexpr uint32_t kEndorsementHierarchy = 0x4000000b;
constexpr uint32_t kPasswordSession = 0x40000009;
constexpr uint32_t kNoSuchHandle = 0x18b;  // TPM_RC_HANDLE for handle 1
constexpr uint32_t kNvReadPublic = 0x169;
constexpr uint32_t kNvRead = 0x14e;
constexpr uint32_t kClear = 0x126;
constexpr uint32_t kClearControl = 0x127;
constexpr uint32_t kNvDefineSpace = 0x12a;
constexpr uint32_t kNvWrite = 0x137;
constexpr uint32_t kNvWriteLock = 0x138;
constexpr uint32_t kPlatform = 0x4000000c;
constexpr uint16_t kSha256 = 0x000b;
constexpr size_t kNvChunk = 512;  // below every TPM's largest buffer
constexpr size_t kCertificateMax = 8192;

// Where swtpm_setup puts a key and its certificate (EK Credential Profile 2.5, 2.2.1.4; TCG Provisioning Guidance, 7.8).
struct Place {
  uint32_t key;
  uint32_t certificate;
};
constexpr std::array<Place, 2> kPlaces = {{{0x81010001, 0x01c00002}, {0x81010016, 0x01c00016}}};

// The first of the indices for certificate chains (EK Credential Profile 2.5, 2.2.1.5.2).
constexpr uint32_t kIssuerIndex = 0x01c00100;
// PPWRITE, WRITEDEFINE, PPREAD, OWNERREAD, AUTHREAD, NO_DA, PLATFORMCREATE: as swtpm_setup makes those of the certificates.
constexpr uint32_t kIssuerAttributes = 0x42072001;

// fixedTPM, fixedParent, sensitiveDataOrigin, restricted, decrypt; and sign, which an endorsement key does not have.
constexpr uint32_t kKeyOfThisTpm = 0x00030032;
constexpr uint32_t kSign = 0x00040000;

// TPM2_PolicySecret(endorsement hierarchy), SHA-256 (EK Credential Profile 2.5, B.3, PolicyA).
constexpr std::array<uint8_t, 32> kPolicyA = {0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
                                              0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa};

[[noreturn]] void Fail(const std::string& what) { throw OperationError("vtpm-read-failed", what); }

// The public area in a TPM2B_PUBLIC.
Bytes PublicAt(const Bytes& response, size_t at) {
  const size_t size = ReadWire(response, at, 2);
  if (size == 0 || at + 2 + size > response.size()) Fail("the vTPM's answer is too short");
  const auto start = response.begin() + static_cast<std::ptrdiff_t>(at) + 2;
  return Bytes(start, start + static_cast<std::ptrdiff_t>(size));
}

// A restricted decryption key of this very TPM; a guest may have put something else there.
bool CanBeEndorsementKey(const Bytes& public_area) {
  const uint32_t attributes = ReadWire(public_area, 4, 4);
  return (attributes & kKeyOfThisTpm) == kKeyOfThisTpm && (attributes & kSign) == 0;
}

std::optional<Bytes> Persistent(SwtpmProcess& vtpm, uint32_t handle) {
  Bytes rest;
  PutWire(rest, handle, 4);
  const Bytes response = vtpm.Transmit(WireCommand(kNoSessions, kReadPublic, rest));
  const uint32_t code = ResponseCode(response);
  if (code == kNoSuchHandle) return std::nullopt;
  if (code != 0) throw OperationError::FromTpm("vtpm-read-failed", "the vTPM refuses ReadPublic", code);
  Bytes public_area = PublicAt(response, kResponseHead);
  return CanBeEndorsementKey(public_area) ? std::optional<Bytes>(public_area) : std::nullopt;
}

// A command that the platform authorizes, by its empty password, with its handles and arguments.
Bytes PlatformCommand(uint32_t code, std::initializer_list<uint32_t> handles, const Bytes& arguments) {
  Bytes rest;
  for (uint32_t handle : handles) PutWire(rest, handle, 4);
  PutWire(rest, 9, 4);
  PutWire(rest, kPasswordSession, 4);
  rest.resize(rest.size() + 5);
  rest.insert(rest.end(), arguments.begin(), arguments.end());
  return WireCommand(kSessions, code, rest);
}

// TPM2_CreatePrimary of template L-1: RSA-2048, restricted decryption, AES-128-CFB.
Bytes CreatedFromTemplate(SwtpmProcess& vtpm) {
  Bytes area;
  for (uint32_t value : {0x0001u, 0x000bu}) PutWire(area, value, 2);  // RSA, SHA-256
  PutWire(area, 0x000300b2, 4);
  PutWire(area, kPolicyA.size(), 2);
  area.insert(area.end(), kPolicyA.begin(), kPolicyA.end());
  for (uint32_t value : {0x0006u, 128u, 0x0043u, 0x0010u, 2048u}) PutWire(area, value, 2);  // AES-128-CFB, no scheme, key bits
  PutWire(area, 0, 4);                                                                     // exponent 65537
  PutWire(area, 256, 2);
  area.resize(area.size() + 256);  // unique: zeros

  Bytes rest;
  PutWire(rest, kEndorsementHierarchy, 4);
  PutWire(rest, 9, 4);
  PutWire(rest, kPasswordSession, 4);
  rest.resize(rest.size() + 5);  // no nonce, no attributes, an empty password
  PutWire(rest, 4, 2);
  rest.resize(rest.size() + 4);  // no password, no data
  PutWire(rest, static_cast<uint32_t>(area.size()), 2);
  rest.insert(rest.end(), area.begin(), area.end());
  rest.resize(rest.size() + 6);  // no outside information, no PCRs
  const Bytes command = WireCommand(kSessions, kCreatePrimary, rest);
  Bytes response = vtpm.Transmit(command);
  if (ResponseCode(response) != 0) {
    // A guest gave the endorsement hierarchy an authorization of its own. This vTPM is a copy that is thrown away, and nobody but us has been
    // its platform since its power-on: the platform may clear it, which takes authorizations away and leaves the endorsement seed as it is.
    Answered(vtpm, "ClearControl", PlatformCommand(kClearControl, {kPlatform}, {0}));
    Answered(vtpm, "Clear", PlatformCommand(kClear, {kPlatform}, {}));
    response = Answered(vtpm, "CreatePrimary", command);
  }
  Bytes public_area = PublicAt(response, kResponseHead + 4 + 4);  // after the handle and the size of the parameters
  if (!CanBeEndorsementKey(public_area)) Fail("the vTPM made something else than an endorsement key");
  return public_area;
}

// Size of what an NV index holds; 0 where there is no such index.
size_t NvSize(SwtpmProcess& vtpm, uint32_t index) {
  Bytes rest;
  PutWire(rest, index, 4);
  const Bytes response = vtpm.Transmit(WireCommand(kNoSessions, kNvReadPublic, rest));
  if (ResponseCode(response) != 0) return 0;
  const size_t policy_at = kResponseHead + 2 + 4 + 2 + 4;  // after size, index, name algorithm, attributes
  return ReadWire(response, policy_at + 2 + ReadWire(response, policy_at, 2), 2);
}

Bytes NvReadCommand(uint32_t index, size_t offset, size_t size) {
  Bytes rest;
  PutWire(rest, index, 4);  // authorized by its own, empty password
  PutWire(rest, index, 4);
  PutWire(rest, 9, 4);
  PutWire(rest, kPasswordSession, 4);
  rest.resize(rest.size() + 5);
  PutWire(rest, static_cast<uint32_t>(size), 2);
  PutWire(rest, static_cast<uint32_t>(offset), 2);
  return WireCommand(kSessions, kNvRead, rest);
}

// A guest may have put anything there, or taken it away: what cannot be read is no certificate.
Bytes CertificateAt(SwtpmProcess& vtpm, uint32_t index) {
  const size_t size = NvSize(vtpm, index);
  if (size == 0 || size > kCertificateMax) return {};
  Bytes certificate;
  while (certificate.size() < size) {
    const size_t wanted = std::min(kNvChunk, size - certificate.size());
    const Bytes response = vtpm.Transmit(NvReadCommand(index, certificate.size(), wanted));
    if (ResponseCode(response) != 0) return {};
    const size_t at = kResponseHead + 4 + 2;
    if (ReadWire(response, kResponseHead + 4, 2) != wanted || response.size() < at + wanted) return {};
    certificate.insert(certificate.end(), response.begin() + static_cast<std::ptrdiff_t>(at),
                       response.begin() + static_cast<std::ptrdiff_t>(at + wanted));
  }
  return certificate;
}

VtpmEndorsement ReadFrom(SwtpmProcess& vtpm, EndorsementSource source) {
  StartupClear(vtpm);
  for (const Place& place : kPlaces) {
    if (source == EndorsementSource::kSeed) break;
    if (std::optional<Bytes> found = Persistent(vtpm, place.key)) {
      return {*found, CertificateAt(vtpm, kIssuerIndex), CertificateAt(vtpm, place.certificate)};
    }
  }
  Bytes certificate = CertificateAt(vtpm, kPlaces[0].certificate);
  Bytes issuer = CertificateAt(vtpm, kIssuerIndex);
  return {CreatedFromTemplate(vtpm), std::move(issuer), std::move(certificate)};
}

VtpmEndorsement Endorsement(const fs::path& dir, const std::string& swtpm, EndorsementSource source, bool running, const SecretBuffer& passphrase) {
  const fs::path state = dir / kStateFile;
  StatOf(state, "vTPM state");  // before the lock's file is made in a directory that is none of ours
  std::optional<StateLock> lock;
  if (!running) lock.emplace(dir, StatOf(dir, "vTPM state directory"));
  const struct stat status = StatOf(state, "vTPM state");
  if (!S_ISREG(status.st_mode) || !IsEncrypted(state)) Fail(state.string() + " is not encrypted");
  WorkDir work(dir, status);
  Must(link(state.c_str(), (work.Old() / kStateFile).c_str()), "hard link of the vTPM state");
  SwtpmProcess vtpm(swtpm, work.Old(), status.st_uid, status.st_gid, {.at_rest = &passphrase, .migration = nullptr});
  vtpm.OpenDataChannel();
  vtpm.Init();
  VtpmEndorsement read = ReadFrom(vtpm, source);
  vtpm.Shutdown();
  return read;
}

}  // namespace

void KeepIssuer(SwtpmProcess& vtpm, const std::vector<uint8_t>& certificate) {
  Bytes area;  // TPMS_NV_PUBLIC
  PutWire(area, kIssuerIndex, 4);
  PutWire(area, kSha256, 2);
  PutWire(area, kIssuerAttributes, 4);
  PutWire(area, 0, 2);  // no policy
  PutWire(area, static_cast<uint32_t>(certificate.size()), 2);
  Bytes define;
  PutWire(define, 0, 2);  // an empty authorization of its own
  PutWire(define, static_cast<uint32_t>(area.size()), 2);
  define.insert(define.end(), area.begin(), area.end());
  Answered(vtpm, "NV_DefineSpace", PlatformCommand(kNvDefineSpace, {kPlatform}, define));
  for (size_t at = 0; at < certificate.size();) {
    const size_t size = std::min(kNvChunk, certificate.size() - at);
    const auto from = certificate.begin() + static_cast<std::ptrdiff_t>(at);
    Bytes write;
    PutWire(write, static_cast<uint32_t>(size), 2);
    write.insert(write.end(), from, from + static_cast<std::ptrdiff_t>(size));
    PutWire(write, static_cast<uint32_t>(at), 2);
    Answered(vtpm, "NV_Write", PlatformCommand(kNvWrite, {kPlatform, kIssuerIndex}, write));
    at += size;
  }
  Answered(vtpm, "NV_WriteLock", PlatformCommand(kNvWriteLock, {kPlatform, kIssuerIndex}, {}));
}

VtpmEndorsement VtpmEndorsementKey(const std::string& state_dir, const std::string& swtpm, EndorsementSource source, bool running,
                                   const SecretBuffer& passphrase) {
  try {
    return Endorsement(state_dir, swtpm, source, running, passphrase);
  } catch (const OperationError& error) {
    if (error.code() == "vtpm-convert-failed") Fail(error.what());  // of the parts that the conversion uses too
    throw;
  }
}

}  // namespace tvmmp
