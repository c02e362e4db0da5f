// tvmmp-vtpm-certs: what swtpm_setup runs to have the endorsement keys of a new vTPM certified (`create_certs_tool`, SPEC 4.5).
//
//   tvmmp-vtpm-certs --type ek --ek KEY --dir DIR ... --configfile SOCKET ...
//
// It runs as libvirt's swtpm user and decides nothing: its arguments go to the agent that makes this vTPM, over the socket that
// the agent named as our configuration file; what comes back is a certificate, for DIR/ek.cert, or the reason why not, for stderr.
// The agent knows which VM it is, what may be certified, and has the key.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum {
  REQUEST_BYTES_MAX = 16384,
  ANSWER_BYTES_MAX = 8192,
  ANSWER_HEAD_BYTES = 3,
  DEADLINE_S = 60,
};

static int fail(const char *what, const char *why) {
  fprintf(stderr, "tvmmp-vtpm-certs: %s%s%s\n", what, why == NULL ? "" : ": ", why == NULL ? "" : why);
  return 1;
}

static const char *option(int argc, char **argv, const char *name) {
  for (int i = 1; i + 1 < argc; i++) {
    if (strcmp(argv[i], name) == 0) return argv[i + 1];
  }
  return NULL;
}

// For each argument its length (u16) and bytes, behind the length of all of it (u32). 0 where it is too much.
static size_t put_request(int argc, char **argv, unsigned char *out) {
  size_t at = 4;
  for (int i = 1; i < argc; i++) {
    size_t length = strlen(argv[i]);
    if (length > 0xffff || at + 2 + length > REQUEST_BYTES_MAX) return 0;
    out[at] = (unsigned char)(length >> 8);
    out[at + 1] = (unsigned char)length;
    memcpy(out + at + 2, argv[i], length);
    at += 2 + length;
  }
  size_t body = at - 4;
  for (int i = 0; i < 4; i++) out[i] = (unsigned char)(body >> (8 * (3 - i)));
  return at;
}

static int connect_agent(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof(address.sun_path)) {
    errno = ENAMETOOLONG;
    return -1;
  }
  strcpy(address.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  struct timeval deadline = {.tv_sec = DEADLINE_S};
  if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof(deadline)) == 0 &&
      setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof(deadline)) == 0 &&
      connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0) {
    return fd;
  }
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

static bool send_all(int fd, const unsigned char *data, size_t length) {
  while (length > 0) {
    ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    data += sent;
    length -= (size_t)sent;
  }
  return true;
}

static bool receive_all(int fd, unsigned char *data, size_t length) {
  while (length > 0) {
    ssize_t got = recv(fd, data, length, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    data += got;
    length -= (size_t)got;
  }
  return true;
}

static int write_certificate(const char *dir, const unsigned char *der, size_t length) {
  char path[4096];
  int used = snprintf(path, sizeof(path), "%s/ek.cert", dir);
  if (used < 0 || (size_t)used >= sizeof(path)) return fail("the directory's name is too long", NULL);
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return fail(path, strerror(errno));
  size_t done = 0;
  while (done < length) {
    ssize_t written = write(fd, der + done, length - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) break;
    done += (size_t)written;
  }
  if (close(fd) != 0 || done < length) return fail(path, "cannot be written");
  return 0;
}

int main(int argc, char **argv) {
  static unsigned char request[REQUEST_BYTES_MAX];
  static unsigned char answer[ANSWER_BYTES_MAX + 1];
  signal(SIGPIPE, SIG_IGN);
  const char *socket_path = option(argc, argv, "--configfile");
  const char *dir = option(argc, argv, "--dir");
  const char *type = option(argc, argv, "--type");
  if (socket_path == NULL || dir == NULL || type == NULL) return fail("swtpm_setup runs this program with --type, --dir and --configfile", NULL);
  if (strcmp(type, "ek") != 0) return fail("only endorsement keys are certified", type);
  size_t length = put_request(argc, argv, request);
  if (length == 0) return fail("the arguments are too long", NULL);
  int fd = connect_agent(socket_path);
  if (fd < 0) return fail("the tvmmp agent cannot be reached", strerror(errno));
  unsigned char head[ANSWER_HEAD_BYTES];
  bool answered = send_all(fd, request, length) && receive_all(fd, head, sizeof(head));
  size_t size = answered ? (size_t)head[1] << 8 | head[2] : 0;
  answered = answered && size <= ANSWER_BYTES_MAX && receive_all(fd, answer, size);
  close(fd);
  if (!answered) return fail("the tvmmp agent gave no answer", NULL);
  answer[size] = '\0';
  if (head[0] != 0) return fail((const char *)answer, NULL);
  return write_certificate(dir, answer, size);
}
