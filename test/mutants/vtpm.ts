/** Certificates of vTPMs: who may issue them, for whom, and which are believed. */
import { mutantsOf } from './mutant.ts';

const chain = 'test/unit/certificates/vtpm.test.ts';
const issuing = 'test/unit/migration/vtpm-issuing.test.ts';
const birth = 'test/unit/proof/vtpm-birth.test.ts';

const identity = 'test/unit/migration/vtpm-identity.test.ts';

export const vtpms = [
  ...mutantsOf('lib/migration/vtpm-identity.ts', identity, [
    {
      name: 'vtpm-identity/compared',
      defence: 'The vTPM that came with a VM is compared with the one that its proof names',
      spec: '4.5',
      find: 'if (reading === null || reading.found === reading.named) return null;',
      replace: 'if (reading === null || reading.found !== "") return null;',
      title:
        'is found out where the state directory was exchanged for that of another vTPM under the same key',
      test: 'test/native/vtpm-identity.test.ts',
    },
    {
      name: 'vtpm-identity/from-seed',
      defence: 'It is the seed that is asked, and not what lies in the place of the key',
      spec: '4.5',
      find: "own, from: 'seed', running",
      replace: "own, from: 'place', running",
      title:
        'is another one where only what lies in the place of its endorsement key has the right name, and not its seed',
    },
    {
      name: 'vtpm-identity/told',
      defence: 'What could not be read is said',
      spec: '4.5',
      find: '      this.#problems.set(vm.uuid, problem);\n',
      replace: '',
      title: 'that cannot be read is said so, tried again, and keeps nobody from moving or starting',
    },
    {
      name: 'vtpm-identity/epoch',
      defence: 'Each arrival is looked at',
      spec: '4.5',
      find: 'return reading.epoch === epoch && reading.named',
      replace: 'return reading.named',
      title: 'is read anew when it has come again, as another one',
    },
  ]),
  ...mutantsOf('lib/migration/start-gate.ts', identity, [
    {
      name: 'vtpm-identity/start',
      defence: 'A VM that came with another vTPM does not start again',
      spec: '8.2',
      find: '  requireOwnVtpm(host.journal, record);\n',
      replace: '  void requireOwnVtpm;\n',
      title:
        'goes nowhere, is attested to nobody and does not start again where it is another one than the proof names',
    },
  ]),
  ...mutantsOf('lib/migration/source-checks.ts', identity, [
    {
      name: 'vtpm-identity/leave',
      defence: 'A VM that came with another vTPM is offered to nobody',
      spec: '6.6',
      find: '  requireOwnVtpm(host.journal, record);\n',
      replace: '  void requireOwnVtpm;\n',
      title:
        'goes nowhere, is attested to nobody and does not start again where it is another one than the proof names',
    },
  ]),
  ...mutantsOf('lib/certificates/vtpm-root.ts', chain, [
    {
      name: 'vtpm-ca/voucher',
      defence: 'A root of vTPMs is one that the authority vouches for',
      spec: '1.1',
      find: 'if (!bytesEqual(spkiOf(vouched), spkiOf(root.certificate.publicKey)))',
      replace: 'if (bytesEqual(spkiOf(vouched), new Uint8Array()))',
      title:
        'is refused under another CA, also one with the same name, another root, and another authority’s voucher',
    },
  ]),
  ...mutantsOf('lib/certificates/vtpm-ca.ts', chain, [
    {
      name: 'vtpm-ca/no-servers',
      defence: 'What a vTPM CA signs is no server’s certificate',
      spec: '1.1',
      find: '      [0x82, 0],\n',
      replace: '',
      title:
        'cannot be a server’s: what a vTPM CA signs for a DNS name is believed by nobody, even with its root trusted',
    },
    {
      name: 'vtpm-ca/signature',
      defence: 'A vTPM CA was certified by the root of vTPMs',
      spec: '1.1',
      find: '!certificate.signedBy(root.publicKey)',
      replace: '!certificate.signedBy.name',
      title:
        'is refused under another CA, also one with the same name, another root, and another authority’s voucher',
    },
  ]),
  ...mutantsOf('lib/certificates/vtpm-certificate.ts', chain, [
    {
      name: 'vtpm-ca/certificate-signature',
      defence: 'A certificate of a vTPM was signed by the vTPM CA that it names',
      spec: '1.1',
      find: '!certificate.signedBy(issuer.publicKey)',
      replace: '!certificate.signedBy.name',
      title:
        'is refused under another CA, also one with the same name, another root, and another authority’s voucher',
    },
    {
      name: 'vtpm-ca/certificate-time',
      defence: 'A certificate of a vTPM is good in its time alone',
      spec: '1.1',
      find: '  assertValidAt(certificate, at, "vTPM\'s certificate");\n',
      replace: '  void [assertValidAt, at];\n',
      title: 'is refused after its end, and before its beginning; and so is each certificate above it',
    },
  ]),
  ...mutantsOf('lib/authority/enrolment.ts', 'test/unit/authority/enrolment.test.ts', [
    {
      name: 'vtpm-ca/key-policy',
      defence: 'A vTPM CA key signs only in states that this authority approves',
      spec: '1.2',
      find: 'matchesTemplate(publicArea, vtpmCaTemplate(policy)) ?',
      replace: 'policy.length > 0 ?',
      title:
        'a vTPM CA key that is of another kind, or that another policy key guards, or that the AK did not certify, is refused',
    },
  ]),
  ...mutantsOf('lib/migration/vtpm-issuing.ts', issuing, [
    {
      name: 'vtpm-ca/issued-for',
      defence: 'Certificates are issued for the VM that is being protected',
      spec: '4.5',
      find: 'if (vmId !== `${vm.name}:${vm.uuid}`)',
      replace: "if (vmId === '')",
      title:
        'are issued for no other VM, no second key of a kind, and nothing that is not an endorsement key',
    },
    {
      name: 'vtpm-ca/issued-once',
      defence: 'One certificate is issued for each kind of key',
      spec: '4.5',
      find: 'if (issued.has(kind))',
      replace: 'if (issued.has(vmId))',
      title:
        'are issued for no other VM, no second key of a kind, and nothing that is not an endorsement key',
    },
    {
      name: 'vtpm-ca/issued-to-it',
      defence: 'A vTPM whose certificate is not the one that was issued is not protected',
      spec: '4.5',
      find: 'certificate.byteLength > 0 && bytesEqual(certificate, found)',
      replace: 'certificate.byteLength > 0 || bytesEqual(certificate, found)',
      title: 'stand for the vTPM that has them: one with another certificate is not protected',
    },
  ]),
  ...mutantsOf('lib/proof/vtpm-birth.ts', birth, [
    {
      name: 'vtpm-ca/vm',
      defence: 'A certificate is of the vTPM of one VM',
      spec: '4.5',
      find: 'certificate.uuid === vm,',
      replace: "certificate.uuid !== '' && vm !== '',",
      title: 'does not hold for another VM',
    },
    {
      name: 'vtpm-ca/key',
      defence: 'A certificate is of the endorsement key that the proof names',
      spec: '4.5',
      find: 'bytesEqual(nameOf(area), vtpm);',
      replace: '!bytesEqual(nameOf(area), new Uint8Array());',
      title: 'does not hold for another key than the proof names',
    },
    {
      name: 'vtpm-ca/issuer',
      defence: 'Who certified the vTPM is the host at which the VM was born',
      spec: '4.5',
      find: 'birth.host.name === issuer.host && bytesEqual(birth.host.akName, issuer.akName);',
      replace: "birth.host.name !== '' && !bytesEqual(issuer.akName, new Uint8Array());",
      title:
        'does not hold where another host of the authority certified it, or one of that name with another key',
    },
    {
      name: 'vtpm-ca/revoked',
      defence: 'The word of a revoked host is no word',
      spec: '4.5, 1.3',
      find: 'signed?.before?.first === 0 && signed.witness !== null;',
      replace: 'signed !== null;',
      title: 'does not hold where its host is revoked, unless a host that is not vouches that it is older',
    },
  ]),
];
