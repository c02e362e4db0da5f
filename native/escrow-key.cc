#include "escrow-key.h"

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <string_view>

#include "file-descriptor.h"
#include "operation-error.h"
#include "p256.h"

namespace tvmmp {
namespace {

constexpr size_t kFileBytesMax = 4096;

using Bio = std::unique_ptr<BIO, Deleter<BIO_free_all>>;

[[noreturn]] void Refuse(const std::string& what) { throw OperationError("authority-invalid", "escrow key: " + what); }

[[noreturn]] void FailWithErrno(const std::string& what, int error) {
  throw OperationError::FromErrno("authority-invalid", "escrow key: " + what, error);
}

// A file of at most 4 KiB, or a pipe with no more in it; `used` is how much of the buffer it fills.
SecretBuffer ReadSecretFile(const std::string& path, size_t& used) {
  FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) FailWithErrno(path, errno);
  SecretBuffer contents(kFileBytesMax + 1);
  used = 0;
  while (used < contents.size()) {
    ssize_t got = read(file.get(), contents.data() + used, contents.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) FailWithErrno(path, errno);
    if (got == 0) return contents;
    used += static_cast<size_t>(got);
  }
  Refuse(path + " is larger than 4096 bytes");
}

// The first line of a file.
struct Passphrase {
  SecretBuffer line;
  size_t size;
};

std::optional<Passphrase> ReadPassphrase(const std::optional<std::string>& path) {
  if (!path) return std::nullopt;
  size_t used = 0;
  SecretBuffer line = ReadSecretFile(*path, used);
  size_t size = static_cast<size_t>(std::find(line.data(), line.data() + used, uint8_t{'\n'}) - line.data());
  if (size == 0) Refuse("an empty passphrase");
  return Passphrase{std::move(line), size};
}

using KeyInfo = std::unique_ptr<PKCS8_PRIV_KEY_INFO, Deleter<PKCS8_PRIV_KEY_INFO_free>>;
using EncryptedKeyInfo = std::unique_ptr<X509_SIG, Deleter<X509_SIG_free>>;

// What is in a PEM file, in memory that OpenSSL clears.
struct Pem {
  char* name = nullptr;
  char* header = nullptr;
  unsigned char* data = nullptr;
  long size = 0;

  explicit Pem(BIO* from) : read_(PEM_read_bio_ex(from, &name, &header, &data, &size, kFlags) == 1) {}
  ~Pem() {
    OPENSSL_secure_clear_free(name, 0);
    OPENSSL_secure_clear_free(header, 0);
    OPENSSL_secure_clear_free(data, static_cast<size_t>(size));
  }
  Pem(const Pem&) = delete;
  Pem& operator=(const Pem&) = delete;
  bool Is(std::string_view kind) const { return read_ && kind == name; }

 private:
  static constexpr unsigned kFlags = PEM_FLAG_SECURE | PEM_FLAG_EAY_COMPATIBLE;
  bool read_;
};

KeyInfo ReadKeyInfo(const EscrowKeyFile& file) {
  const auto passphrase = ReadPassphrase(file.passphrase_path);
  size_t used = 0;
  SecretBuffer contents = ReadSecretFile(file.path, used);
  Bio bio(BIO_new_mem_buf(contents.data(), static_cast<int>(used)));
  Expect(bio != nullptr, "BIO");
  Pem pem(bio.get());
  const unsigned char* at = pem.data;
  if (pem.Is("PRIVATE KEY") && !passphrase) return KeyInfo(d2i_PKCS8_PRIV_KEY_INFO(nullptr, &at, pem.size));
  if (!pem.Is("ENCRYPTED PRIVATE KEY") || !passphrase) return nullptr;
  EncryptedKeyInfo encrypted(d2i_X509_SIG(nullptr, &at, pem.size));
  if (!encrypted) return nullptr;
  return KeyInfo(PKCS8_decrypt(encrypted.get(), reinterpret_cast<const char*>(passphrase->line.data()), static_cast<int>(passphrase->size)));
}

// By hand, for the one form of key that is made here (RFC 5915): OpenSSL's own reader leaves copies of it behind.
Key ReadPrivateKey(const EscrowKeyFile& file, const Point& point) {
  constexpr std::array<uint8_t, 5> kBeforeScalar = {0x02, 0x01, 0x01, 0x04, 0x20};  // version 1, an OCTET STRING of 32 bytes
  KeyInfo info = ReadKeyInfo(file);
  if (!info) Refuse(file.path + " cannot be read: is it encrypted with another passphrase, or with one at all?");
  const unsigned char* der = nullptr;
  int size = 0;
  const bool got = PKCS8_pkey_get0(nullptr, &der, &size, nullptr, info.get()) == 1;
  const bool whole = got && size > 39 && der[0] == 0x30 && der[1] == size - 2 && std::equal(kBeforeScalar.begin(), kBeforeScalar.end(), der + 2);
  if (!whole) Refuse(file.path + " holds no P-256 key");
  SecretBuffer scalar(32);  // as OSSL_PARAM has it, in the order of this machine
  std::reverse_copy(der + 7, der + 39, scalar.data());
  return PrivateKey(point, scalar);
}

std::vector<uint8_t> SpkiOf(EVP_PKEY* key) {
  unsigned char* der = nullptr;
  int size = i2d_PUBKEY(key, &der);
  Expect(size > 0, "SubjectPublicKeyInfo");
  std::vector<uint8_t> spki(der, der + size);
  OPENSSL_free(der);
  return spki;
}

void WriteNew(const std::string& path, const char* data, size_t size) {
  FileDescriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file.valid()) FailWithErrno(path, errno);
  for (size_t done = 0; done < size;) {
    ssize_t wrote = write(file.get(), data + done, size - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) {
      int error = errno;
      unlink(path.c_str());
      FailWithErrno(path, error);
    }
    done += static_cast<size_t>(wrote);
  }
  const auto above = std::filesystem::path(path).parent_path();
  FileDescriptor directory(open(above.empty() ? "." : above.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fsync(file.get()) != 0 || !directory.valid() || fsync(directory.get()) != 0) FailWithErrno(path, errno);
}

}  // namespace

Recipient ParseEscrowKey(std::span<const uint8_t> spki) {
  const unsigned char* at = spki.data();
  Key key(d2i_PUBKEY(nullptr, &at, static_cast<long>(spki.size())));
  const bool whole = key && at == spki.data() + spki.size() && IsP256(key.get());
  if (!whole || !std::ranges::equal(SpkiOf(key.get()), spki)) {
    throw OperationError("policy-invalid", "escrow key: not the SubjectPublicKeyInfo of a P-256 key");
  }
  Recipient recipient{.label = "tvmmp/escrow-seal/1", .wire_digest = {}, .point = PointOf(key.get())};
  Expect(EVP_Digest(spki.data(), spki.size(), recipient.wire_digest.data(), nullptr, EVP_sha256(), nullptr) == 1, "SHA-256");
  return recipient;
}

std::vector<uint8_t> MakeEscrowKey(const EscrowKeyFile& file) {
  auto passphrase = ReadPassphrase(file.passphrase_path);
  Key key = NewP256Key();
  Bio pem(BIO_new(BIO_s_mem()));
  Expect(pem != nullptr, "BIO");
  // PKCS #8, with AES-256-CBC under PBKDF2 where there is a passphrase: as the authority's other keys are kept.
  const EVP_CIPHER* cipher = passphrase ? EVP_aes_256_cbc() : nullptr;
  Expect(PEM_write_bio_PKCS8PrivateKey(pem.get(), key.get(), cipher, passphrase ? reinterpret_cast<char*>(passphrase->line.data()) : nullptr,
                                       passphrase ? static_cast<int>(passphrase->size) : 0, nullptr, nullptr) == 1,
         "PKCS #8");
  char* data = nullptr;
  const long size = BIO_get_mem_data(pem.get(), &data);
  Expect(size > 0, "PKCS #8");
  try {
    WriteNew(file.path, data, static_cast<size_t>(size));
  } catch (...) {
    OPENSSL_cleanse(data, static_cast<size_t>(size));
    throw;
  }
  OPENSSL_cleanse(data, static_cast<size_t>(size));
  return SpkiOf(key.get());
}

SecretBuffer OpenEscrowed(const EscrowKeyFile& file, std::span<const uint8_t> spki, std::span<const uint8_t> sealed,
                          std::span<const uint8_t> context) {
  Recipient recipient = ParseEscrowKey(spki);
  Key ephemeral = PublicKey(EphemeralPoint(sealed));
  Key own = ReadPrivateKey(file, recipient.point);
  if (!own) Refuse(file.path + " is not the key that hosts have sealed for");
  return Open(sealed, SharedX(own.get(), ephemeral.get()), recipient, context);
}

}  // namespace tvmmp
