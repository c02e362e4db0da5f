# Native parts of tvmmp (SPEC, "native addon and FFI"):
#   bridge.node    everything that touches the vTPM passphrase; needs tpm2-tss, opens libvirt only when it must
#   libvirt.node   libvirt's event loop, the long migration call and calls about secrets, each on a thread of its own
#   tvmmp-hook     what libvirtd runs for each hook event; plain C, libc only
#   tvmmp-vtpm-certs  what swtpm_setup runs to have a vTPM's endorsement keys certified; plain C, libc only
#
# Which OpenSSL: Node's own (headers from Node's include directory, symbols from the running process), and libcrypto is
# not linked. Node exports its OpenSSL symbols without a version, and the dynamic linker lets them stand for
# OPENSSL_3.0.0's: an addon that links libcrypto.so.3 is compiled against the system's headers and yet runs Node's code.
# (The same happens to libtss2-esys, harmlessly: Node exports every symbol that it uses, so nothing mixes.) Where Node was
# built against a shared OpenSSL the same symbols come from that. Only the stable EVP interface of OpenSSL 3 is used.
#
# `node-gyp rebuild --debug -- -Dsanitize=1` builds all of it with AddressSanitizer and UBSan into build/Debug.
# To run Node with it: LD_PRELOAD="$(gcc -print-file-name=libasan.so) libtirpc.so.3" (libtirpc, because ASan wraps its xdrmem_create and
# must find the real one), ASAN_OPTIONS=detect_leaks=0, and LD_PRELOAD taken out of process.env before libvirtd or swtpm are started.
{
  'variables': { 'sanitize%': 0 },
  'target_defaults': {
    'defines': ['_GNU_SOURCE'],
    'cflags': ['-Wall', '-Wextra', '-Werror', '-fstack-protector-strong', '-fstack-clash-protection', '-fvisibility=hidden', '-fPIC'],
    'cflags_c': ['-std=c17'],
    'cflags_cc!': ['-fno-exceptions', '-fno-rtti', '-std=gnu++17'],
    'cflags_cc': ['-std=gnu++20', '-fexceptions', '-frtti', '-isystem', '<!(node -p "require(\'path\').dirname(require.resolve(\'node-addon-api\'))")'],
    'ldflags': ['-Wl,-z,relro,-z,now,-z,noexecstack', '-Wl,--as-needed'],
    'conditions': [
      ['sanitize==1', {
        'cflags': ['-fsanitize=address,undefined', '-fno-sanitize-recover=undefined', '-fno-omit-frame-pointer', '-g'],
        'ldflags': ['-fsanitize=address,undefined'],
      }, {
        'cflags': ['-U_FORTIFY_SOURCE', '-D_FORTIFY_SOURCE=2'],
      }],
    ],
  },
  'targets': [
    {
      'target_name': 'bridge',
      'sources': [
        'native/arguments.cc',
        'native/bridge.cc',
        'native/child-process.cc',
        'native/escrow-key.cc',
        'native/libvirt-secret.cc',
        'native/mailbox.cc',
        'native/operation-error.cc',
        'native/own-key.cc',
        'native/p256.cc',
        'native/peer-credentials.cc',
        'native/receive-key.cc',
        'native/sealed-key.cc',
        'native/secret-buffer.cc',
        'native/swtpm-process.cc',
        'native/tpm-connection.cc',
        'native/vtpm-command.cc',
        'native/vtpm-directory.cc',
        'native/vtpm-endorsement.cc',
        'native/vtpm-manufacture.cc',
        'native/vtpm-owner.cc',
        'native/vtpm-state.cc',
      ],
      'defines': ['NAPI_VERSION=8', 'NODE_ADDON_API_DISABLE_DEPRECATED', 'NAPI_CPP_EXCEPTIONS'],
      'cflags': ['<!@(pkg-config --cflags tss2-esys tss2-mu tss2-tctildr tss2-rc libvirt)'],
      # Operations run on threads that may outlive a Worker: the code must stay mapped.
      'ldflags': ['-Wl,-z,nodelete'],
      'libraries': ['<!@(pkg-config --libs tss2-esys tss2-mu tss2-tctildr tss2-rc)', '-ldl'],
    },
    {
      'target_name': 'libvirt',
      'product_name': 'libvirt',  # gyp takes a leading `lib` away otherwise
      'sources': [
        'native/arguments.cc',
        'native/libvirt-addon.cc',
        'native/libvirt-events.cc',
        'native/libvirt-handle.cc',
        'native/libvirt-migrate.cc',
        'native/libvirt-secrets.cc',
        'native/mailbox.cc',
        'native/operation-error.cc',
      ],
      'defines': ['NAPI_VERSION=8', 'NODE_ADDON_API_DISABLE_DEPRECATED', 'NAPI_CPP_EXCEPTIONS'],
      'cflags': ['<!@(pkg-config --cflags libvirt)'],
      'ldflags': ['-Wl,-z,nodelete'],
      'libraries': ['<!@(pkg-config --libs libvirt)'],
    },
    {
      'target_name': 'tvmmp-hook',
      'type': 'executable',
      'sources': ['native/hook-client.c'],
      'cflags': ['-fPIE'],
      'ldflags': ['-pie'],
    },
    {
      'target_name': 'tvmmp-vtpm-certs',
      'type': 'executable',
      'sources': ['native/vtpm-certs.c'],
      'cflags': ['-fPIE'],
      'ldflags': ['-pie'],
    },
  ],
}
