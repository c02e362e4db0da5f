#include "secret-buffer.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "operation-error.h"

namespace tvmmp {

SecretBuffer::SecretBuffer(size_t size) : size_(size) {
  size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  size_t inner = (size + page - 1) / page * page;
  size_t total = inner + 2 * page;
  void* pages = mmap(nullptr, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) throw OperationError::FromErrno("internal", "secret memory", errno);
  uint8_t* data = static_cast<uint8_t*>(pages) + page;
  if (mprotect(data, inner, PROT_READ | PROT_WRITE) != 0 || mlock(data, inner) != 0 ||
      madvise(data, inner, MADV_DONTDUMP) != 0 || madvise(data, inner, MADV_DONTFORK) != 0) {
    int error = errno;
    munmap(pages, total);
    throw OperationError::FromErrno("internal", "secret memory (is RLIMIT_MEMLOCK too small?)", error);
  }
  pages_ = static_cast<uint8_t*>(pages);
  pages_bytes_ = total;
  data_ = data;
}

SecretBuffer::SecretBuffer(SecretBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      pages_(std::exchange(other.pages_, nullptr)),
      pages_bytes_(std::exchange(other.pages_bytes_, 0)) {}

SecretBuffer::~SecretBuffer() {
  if (pages_ == nullptr) return;
  explicit_bzero(data_, size_);
  munmap(pages_, pages_bytes_);
}

SecretBuffer HexOf(const SecretBuffer& raw) {
  SecretBuffer text(raw.size() * 2);
  auto digit = [](unsigned v) { return static_cast<uint8_t>(v + (v < 10 ? '0' : 'a' - 10)); };  // no table: no trace in caches
  for (size_t i = 0; i < raw.size(); i++) {
    text.data()[2 * i] = digit(raw.data()[i] >> 4);
    text.data()[2 * i + 1] = digit(raw.data()[i] & 0x0f);
  }
  return text;
}

}  // namespace tvmmp
