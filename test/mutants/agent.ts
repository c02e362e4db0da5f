/** The agent's doors: connections of peers, sockets of hook and operator, its own identity. */
import { mutantsOf } from './mutant.ts';

const channel = 'test/unit/agent/tls-channel.test.ts';
const sockets = 'test/unit/agent/sockets.test.ts';

export const agent = [
  ...mutantsOf('lib/agent/tls-channel.ts', channel, [
    {
      name: 'tls/version',
      defence: 'TLS 1.3 alone',
      spec: '6',
      find: "    minVersion: 'TLSv1.3',\n    maxVersion: 'TLSv1.3',\n",
      replace: "    minVersion: 'TLSv1.2',\n    maxVersion: 'TLSv1.3',\n",
      and: [{ find: "socket.getProtocol() !== 'TLSv1.3' || ", replace: '' }],
      title: 'are not made with TLS 1.2',
    },
    {
      name: 'tls/agent-certificate',
      defence: 'An agent certificate, and no other of the same authority',
      spec: '1.1',
      find: 'const told = peerOf(peer.raw, identity);',
      replace:
        "const told = { name: /DNS:([^,]*)/.exec(peer.subjectaltname ?? '')?.[1] ?? '', domain: null as NamedRoot | null };\n    void peerOf;",
      title: 'are not made with the migration certificate of an enrolled host',
    },
    {
      name: 'tls/both-authenticated',
      defence:
        'Both ends of a connection are authenticated: by TLS, by its result, and by the certificate that is read',
      spec: '6',
      find: '    rejectUnauthorized: true,\n  };',
      replace: '    rejectUnauthorized: false as true,\n  };',
      and: [
        { find: ' || !socket.authorized) {', replace: ') {' },
        {
          find: 'const told = peerOf(peer.raw, identity);',
          replace:
            "const told = { name: /DNS:([^,]*)/.exec(peer.subjectaltname ?? '')?.[1] ?? '', domain: null as NamedRoot | null };\n    void peerOf;",
        },
      ],
      title: 'are not made with a certificate of another authority',
    },
    {
      name: 'tls/inbox',
      defence: 'A peer that talks ahead of its turn gets a small inbox',
      spec: '11',
      find: "this.#inbox.filter(({ kind }) => kind !== 'log').length < 4)",
      replace: "this.#inbox.filter(({ kind }) => kind !== 'log').length < 4_000)",
      title: 'end where a peer says more than it was asked for',
    },
    {
      name: 'tls/pause',
      defence: 'A peer that tells a log faster than it is dealt with is held back',
      spec: '6.11',
      find: '    this.#socket.pause();\n',
      replace: '',
      title: 'hold a peer back that tells a log faster than it is dealt with, and lose nothing of it',
    },
  ]),
  ...mutantsOf('lib/agent/peer-server.ts', channel, [
    {
      name: 'peers/per-address',
      defence: 'An address has at most so many connections',
      spec: '11',
      find: '    if (open >= this.#max) return false;\n',
      replace: '',
      title: 'of one address are bounded, and room is made when they close',
    },
    {
      name: 'peers/certificate-asked-for',
      defence: 'A client has to show a certificate',
      spec: '6',
      find: '      requestCert: true,\n',
      replace: '',
      title: 'are made by two agents of one authority, and each knows the other’s name',
    },
  ]),
  ...mutantsOf('lib/agent/frames.ts', channel, [
    {
      name: 'frames/size',
      defence: 'A frame is bounded before it is read',
      spec: '11',
      find: 'size === 0 || size > this.#bytesMax',
      replace: 'size === 0',
      title: 'end at a frame longer than any message',
    },
  ]),
  ...mutantsOf('lib/agent/hook-server.ts', sockets, [
    {
      name: 'hook/root',
      defence: 'Root alone asks over the hook’s socket',
      spec: '8.1',
      find: 'if (uid !== 0) throw',
      replace: 'if (uid < 0) throw',
      title: 'answer no hook of another user',
    },
    {
      name: 'sockets/mode',
      defence: 'The agent’s sockets are their owner’s alone',
      spec: '8.1',
      find: '      chmodSync(path, 0o600);\n',
      replace: '      chmodSync(path, 0o666);\n',
      title: 'are their owner’s alone, also where somebody left another file there',
    },
    {
      name: 'hook/frame',
      defence: 'A call of the hook is bounded before it is read',
      spec: '11',
      find: 'new FrameReader(limits.hookFrameBytesMax)',
      replace: 'new FrameReader(2 ** 32)',
      title: 'read no call of the hook that is too long, cut short, or not UTF-8',
    },
    {
      name: 'hook/words',
      defence: 'A name is bounded',
      spec: '11',
      find: 'const argumentBytesMax = 4096;',
      replace: 'const argumentBytesMax = 65_535;',
      title: 'read no call of the hook that is too long, cut short, or not UTF-8',
    },
    {
      name: 'hook/utf8',
      defence: 'What is not UTF-8 is not guessed at',
      spec: '8.1',
      find: '{ fatal: true, ignoreBOM: true }',
      replace: '{ fatal: false, ignoreBOM: true }',
      title: 'read no call of the hook that is too long, cut short, or not UTF-8',
    },
    {
      name: 'hook/faults-refuse',
      defence: 'Whatever goes wrong in the agent refuses',
      spec: '8.1',
      find: '    return reply(1, `refused: ${reason}`);',
      replace: '    return reply(0, `refused: ${reason}`);',
      title: 'answer root’s hooks',
    },
  ]),
  ...mutantsOf('lib/agent/control-server.ts', sockets, [
    {
      name: 'control/root',
      defence: 'Root alone asks over the operator’s socket',
      spec: '8.1',
      find: 'if (uid !== 0) throw',
      replace: 'if (uid < 0) throw',
      title: 'answer no request of another user',
    },
    {
      name: 'control/methods',
      defence: 'What every object has is no method of the agent',
      spec: '8.1',
      find: 'Object.hasOwn(methods, request.method) ? methods[request.method] : undefined',
      replace: 'methods[request.method]',
      title: 'know the methods that they were given, and none that every object has',
    },
    {
      name: 'control/size',
      defence: 'A request is bounded',
      spec: '11',
      find: '    if (received > controlLineBytesMax) socket.destroy();\n',
      replace: '    void received;\n    void controlLineBytesMax;\n',
      title: 'read no more of a request than there is room for',
    },
  ]),
  ...mutantsOf('lib/agent/identity.ts', 'test/unit/agent/identity.test.ts', [
    {
      name: 'identity/own-tpm',
      defence: 'A host’s certificate is that of the keys in its TPM',
      spec: '1.1',
      find: '  if (!bytesEqual(ak.name, verified.akName) || !bytesEqual(receive.name, verified.receiveKeyName)) {',
      replace: "  if (verified.name === '') {",
      title: 'is not that of a certificate for another TPM’s attestation key or receive key',
    },
    {
      name: 'identity/own-receive-key',
      defence: 'A host’s certificate is that of the receive key in its TPM',
      spec: '1.1',
      find: '  if (!bytesEqual(ak.name, verified.akName) || !bytesEqual(receive.name, verified.receiveKeyName)) {',
      replace: '  if (!bytesEqual(ak.name, verified.akName)) {',
      title: 'is not that of a certificate for another TPM’s attestation key or receive key',
    },
  ]),
];
