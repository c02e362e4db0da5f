/** The hook client, sealed keys, and what reads XML. Native mutants are compiled. */
import { mutantsOf } from './mutant.ts';

const client = 'test/native/hook-client.test.ts';
const sealed = 'test/native/sealed-key.test.ts';
const facts = 'test/unit/libvirt/facts.test.ts';

export const native = [
  ...mutantsOf('native/hook-client.c', client, [
    {
      name: 'client/fails-closed',
      defence: 'Without an answer a door stays shut for a protected VM',
      spec: '8.1',
      find: '  return is_notice(r) ? 0 : 1;',
      replace: '  return 0;',
      title: 'refuses a protected VM at every door, and only there, while the agent is not running',
    },
    {
      name: 'client/marked',
      defence: 'A VM that this host has marked is protected, whatever its XML says',
      spec: '8.1',
      find: '  if (lstat(path, &status) == 0) return true;\n',
      replace: '  if (lstat(path, &status) == 0) return false;\n',
      title: 'takes a VM for protected that this host has marked, whatever its XML says',
    },
    {
      name: 'client/no-uuid',
      defence: 'A VM whose XML cannot be read is taken for protected',
      spec: '8.1',
      find: '  if (!find_uuid(r, uuid)) return true;',
      replace: '  if (!find_uuid(r, uuid)) return false;',
      title: 'takes a VM for protected whose XML has no UUID that it can read',
    },
    {
      name: 'client/incomplete',
      defence: 'Half a definition is no definition',
      spec: '8.1',
      find: '  if (!r->xml_complete) return true;\n',
      replace: '  if (!r->xml_complete) return false;\n',
      title: 'refuses an XML of more than 4 MiB, reading it to its end',
    },
    {
      name: 'client/answer-form',
      defence: 'An answer of another form is none',
      spec: '8.1',
      find: 'outcome = head[0] <= 1 && length <= sizeof(text) ?',
      replace: 'outcome = length <= sizeof(text) ?',
      title: 'refuses when the agent answers rubbish, too much or nothing',
    },
    {
      name: 'client/notices-pass',
      defence: 'What has happened is never refused: a guest that runs is not killed',
      spec: '8.1',
      find: '  return is_notice(r) ? 0 : head[0];',
      replace: '  return head[0];',
      title: 'never refuses what has already happened, whatever the agent says',
    },
    {
      name: 'client/one-line',
      defence: 'What the agent says steers no terminal',
      spec: '9',
      find: "line[used++] = (c < 0x20 || c == 0x7f) ? ' ' : (char)c;",
      replace: 'line[used++] = (char)c;',
      title: 'prints one line, whatever the agent says',
    },
  ]),
  ...mutantsOf('native/sealed-key.cc', sealed, [
    {
      name: 'seal/context',
      defence: 'A key opens in its own context alone: VM, epoch, session, recipient',
      spec: '5.3',
      find: 'EVP_DecryptUpdate(cipher.get(), nullptr, &length, context.data(), static_cast<int>(context.size())) == 1 &&',
      replace: '(context.empty() || true) &&',
      and: [
        {
          find: 'EVP_EncryptUpdate(cipher.get(), nullptr, &length, context.data(), static_cast<int>(context.size())) == 1 &&',
          replace: '(context.empty() || true) &&',
        },
      ],
      title: 'does not open in another context',
    },
    {
      name: 'seal/tag',
      defence: 'A sealed key that was altered does not open',
      spec: '5.3',
      find: '  if (EVP_DecryptFinal_ex(cipher.get(), rest, &length) != 1 || length != 0) {',
      replace: '  if (EVP_DecryptFinal_ex(cipher.get(), rest, &length) > 1) {',
      title: 'does not open when any of its parts is altered',
    },
    {
      name: 'seal/version',
      defence: 'A sealed key of another version is not guessed at',
      spec: '5.3',
      find: '  if (sealed[0] != kVersion) throw OperationError("seal-invalid", "sealed key: unknown version");\n',
      replace: '',
      title: 'does not open when any of its parts is altered',
    },
  ]),
  ...mutantsOf('native/receive-key.cc', sealed, [
    {
      name: 'seal/recipient-policy',
      defence: 'A key is sealed to TPM keys alone that only a policy can use',
      spec: '5.2',
      find: '(area.objectAttributes & kMustBeSet) != kMustBeSet || (area.objectAttributes & kMustBeClear) != 0 || area.authPolicy.size != 32',
      replace: 'area.authPolicy.size > 64',
      title: 'refuses a recipient that is not a TPM key held by a policy',
    },
  ]),
  ...mutantsOf('lib/libvirt/xml.ts', facts, [
    {
      name: 'xml/doctype',
      defence: 'No document types and no entities',
      spec: '11',
      find: "  if (text.startsWith('<!', start)) throw invalid('the XML has a document type or an entity declaration');\n",
      replace: "  if (text.startsWith('<!', start)) return text.indexOf('>', start) + 1;\n",
      title: 'a document type',
    },
  ]),
  ...mutantsOf('lib/libvirt/canonical-facts.ts', facts, [
    ...[
      ['emulator', '    facts.emulator,\n', 'the emulator changes', 'The emulator is part of the facts'],
      ['disk', '        disk.source,\n', 'a disk has another source', 'A disk’s source is part of the facts'],
      [
        'writable',
        '        bit(disk.readonly),\n',
        'a disk becomes writable',
        'Whether a disk is writable is part of the facts',
      ],
      [
        'encryption',
        '      tpm.encryptionSecret,\n',
        'the vTPM is encrypted',
        'The vTPM’s encryption is part of the facts',
      ],
      [
        'system',
        '    facts.systemInformation,\n',
        'firmware configuration changes',
        'Firmware configuration is part of the facts',
      ],
      [
        'launch',
        '    facts.launchSecurity,\n',
        'launch security appears',
        'Launch security is part of the facts',
      ],
      [
        'metadata',
        '    bit(facts.metadata !== null),\n',
        'it loses our metadata',
        'The mark is part of the facts',
      ],
      ['name', '    facts.name,\n', 'the name changes', 'The name is part of the facts'],
      ['uuid', '    facts.uuid,\n', 'the UUID changes', 'The UUID is part of the facts'],
      [
        'shared',
        '    sorted(facts.sharedMemory),\n',
        'shared memory appears',
        'Shared memory is part of the facts',
      ],
    ].map(([name = '', find = '', title = '', defence = '']) => ({
      name: `facts/${name}`,
      defence,
      spec: '7.1',
      find,
      replace: '',
      title,
    })),
    {
      name: 'facts/arguments',
      defence: 'QEMU pass-through is part of the facts',
      spec: '7.1',
      find: '[passThrough.arguments, passThrough.environment, passThrough.other],',
      replace: '[passThrough.environment, passThrough.other],',
      title: 'a QEMU argument changes',
    },
    {
      name: 'facts/boot',
      defence: 'Kernel and command line are part of the facts',
      spec: '7.1',
      find: '[boot.kernel, boot.initrd, boot.commandLine, boot.deviceTree, boot.acpiTables],',
      replace: '[boot.initrd, boot.deviceTree, boot.acpiTables],',
      title: 'the command line changes',
    },
    {
      name: 'facts/host-devices',
      defence: 'Host devices are part of the facts',
      spec: '7.1',
      find: '    sorted(facts.hostDevices.map((device) => [device.mode, device.type, device.source])),\n',
      replace: '',
      title: 'a host device appears',
    },
  ]),
];
