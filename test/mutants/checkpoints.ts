/** Checkpoints and joined proofs, protection, secrets and hints, and the bounds of what comes from outside. */
import { mutantsOf } from './mutant.ts';

const vectors = 'test/vectors/proof.test.ts';
const checkpoint = 'test/unit/proof/checkpoint.test.ts';
const protection = 'test/unit/migration/protection.test.ts';
const bounds = 'test/unit/bytes/bounds.test.ts';
const joinTitle = 'are put together with the history of earlier hosts, which shows who lied';

export const checkpoints = [
  ...mutantsOf('lib/proof/checkpoint.ts', vectors, [
    {
      name: 'checkpoint/truthful',
      defence: 'In the chain a checkpoint is true',
      spec: '4.1',
      find: 'bytesEqual(verdict, summaryDigest(summary));',
      replace: 'verdict.length === summaryDigest(summary).length;\n  void bytesEqual;',
      title:
        'checkpoint-false: a checkpoint that says something else than the history: seen by who has the history',
    },
    {
      name: 'checkpoint/same-birth',
      defence: 'A summary of another birth is not that of a known VM, however long the host has been away',
      spec: '4.1',
      find: "  demand(born, 'known-head', 'it is the proof of another birth of this VM than is known here');\n",
      replace: '  void born;\n',
      title: 'believe the signer about a host that has been away for longer than the marks reach',
      test: checkpoint,
    },
    {
      name: 'checkpoint/acquainted',
      defence: 'A host that knows the VM finds its own last entry among the marks',
      spec: '4.1',
      find: "  demand(named || full, 'known-head', forked);",
      replace: '  void [named, full, forked];',
      title:
        'known-head-forked-before-checkpoint: a fork that was summarised away: the last entry of the host that is asked is not in it',
    },
    {
      name: 'checkpoint/marks-reach',
      defence: 'The signer is believed about a known head only where it is older than all marks',
      spec: '4.1',
      find: 'marks.length === limits.summaryMarksMax && known.sequence < (marks[0]?.sequence ?? 0);',
      replace: 'marks.length === limits.summaryMarksMax;',
      title: 'believe the signer about a host that has been away for longer than the marks reach',
      test: checkpoint,
    },
    {
      name: 'checkpoint/not-while-departing',
      defence: 'Nothing is summarised in the middle of a hand-over',
      spec: '4.1',
      find: "  if (state.state === 'departing' || state.state === 'destroyed') return null;",
      replace:
        "  if (state.state === 'departing' || state.state === 'destroyed') state = { ...state, state: 'running' };",
      and: [
        {
          file: 'lib/proof/life-cycle.ts',
          find: "checkpoint: { from: ['stopped', 'running', 'paused', 'saved'], to: 'same' }",
          replace: "checkpoint: { from: ['stopped', 'running', 'paused', 'saved', 'departing'], to: 'same' }",
        },
      ],
      title:
        'life-cycle-checkpoint-while-departing: a summary in the middle of a hand-over would hide to whom the VM departs',
    },
  ]),
  ...mutantsOf('lib/proof/verify.ts', vectors, [
    {
      name: 'checkpoint/asked-for',
      defence: 'A proof from a checkpoint on is taken by who said so, and by nobody else',
      spec: '4.1',
      find: "  demand(\n    trust.checkpoints !== undefined,\n    'checkpoint',",
      replace: "  demand(\n    proof.entries.length > 0,\n    'checkpoint',",
      title: 'are believed by nobody who did not say so, nor for the host that signed them',
      test: checkpoint,
    },
    {
      name: 'checkpoint/not-of-the-offerer',
      defence: 'No host is believed alone for the past',
      spec: '4.1',
      find: 'offerer === undefined || !sameHost(offerer, entry.host),',
      replace: 'offerer === undefined || offerer.name !== "",',
      title: 'are believed by nobody who did not say so, nor for the host that signed them',
      test: checkpoint,
    },
    {
      name: 'checkpoint/names-its-summary',
      defence:
        'The summary is that which the checkpoint names (looked at where the proof begins, and again as for every checkpoint)',
      spec: '4.1',
      find: '    bytesEqual(entry.verdict, summaryDigest(proof.summary));',
      replace: '    entry.verdict.length === summaryDigest(proof.summary).length;',
      and: [
        {
          file: 'lib/proof/checkpoint.ts',
          find: 'bytesEqual(verdict, summaryDigest(summary));',
          replace: 'verdict.length === summaryDigest(summary).length;\n  void bytesEqual;',
        },
      ],
      title: 'checkpoint-of-other-birth: a summary with the birth of another VM under a genuine checkpoint',
    },
    {
      name: 'checkpoint/is-first',
      defence: 'A proof from a checkpoint on begins with a checkpoint',
      spec: '4.1',
      find: '        if (index === 0 && head !== null) demandCheckpoint(verified, proof, trust);\n',
      replace: '        void demandCheckpoint;\n',
      title: 'checkpoint-is-not-first: a proof that begins with any entry that somebody has a summary for',
    },
  ]),
  ...mutantsOf('lib/proof/chain.ts', vectors, [
    {
      name: 'checkpoint/facts',
      defence: 'A checkpoint does not change the definition of the VM',
      spec: '4.1',
      find: "  if (entry.kind === 'checkpoint')\n    demand(bytesEqual(entry.facts, state.facts), 'facts', 'a checkpoint changes the definition of the VM');\n",
      replace: '',
      title: 'facts-checkpoint: a definition that changes without a start',
    },
    {
      name: 'resolved/names-target',
      defence: '*resolved* names the host that *departing* named',
      spec: '4',
      find: "  demand(named, 'holder', 'resolved names another host than departing');",
      replace: '  void named;',
      title:
        'holder-resolved-hides-target: an administrator resolves, and the proof should not name the host that may have the VM',
    },
  ]),
  ...mutantsOf('lib/proof/join.ts', checkpoint, [
    {
      name: 'join/same',
      defence: 'Proofs that differ at an entry are not put together',
      spec: '4.1',
      find: '      if (other !== undefined && !bytesEqual(other.entry, signed.entry))\n',
      replace: '      if (other !== undefined && !bytesEqual(other.entry, other.entry))\n',
      title: joinTitle,
    },
    {
      name: 'join/no-gap',
      defence: 'Proofs with a gap between them are not put together',
      spec: '4.1',
      find: '  if (missing !== undefined)\n',
      replace: '  if (missing === -1)\n',
      title: joinTitle,
    },
    {
      name: 'join/one-vm',
      defence: 'Proofs of different VMs are not put together',
      spec: '4.1',
      find: "  if (vms.size !== 1) throw new TvmmpError('encoding-invalid', 'the proofs are of different VMs');\n",
      replace: '  void vms;\n',
      title: joinTitle,
    },
  ]),
  ...mutantsOf('lib/migration/protection.ts', protection, [
    {
      name: 'protect/off',
      defence: 'A VM that runs is not protected: its vTPM is encrypted at rest',
      spec: '5.1',
      find: '  if (isActive(domain))\n    throw',
      replace: "  if (isActive(domain) && domain.uuid === '')\n    throw",
      title: 'is not given to a VM that runs, is saved, or goes away by itself',
    },
    {
      name: 'protect/own-secret',
      defence: 'A key of the user’s own is not taken for one of ours',
      spec: '5.1',
      find: '  if (tpm.encryptionSecret !== null && tpm.encryptionSecret !== key.secret) {',
      replace: '  if (tpm.encryptionSecret === key.secret) {',
      title: 'is not given to a VM without an emulated TPM, or with a key of its user’s',
    },
    {
      name: 'protect/not-shared',
      defence: 'Two hosts never see one vTPM state',
      spec: '8',
      find: '  if (shared !== undefined) {',
      replace: "  if (shared === '') {",
      title: 'is not given where two hosts would see one vTPM state',
    },
    {
      name: 'unprotect/holder-and-off',
      defence: 'Protection is ended where the VM is held, while it is off',
      spec: '2',
      find: "  if (record.state !== 'stopped' || isActive(domain)) {",
      replace: '  if (record.uuid === "") {',
      title: 'is ended by the holder alone, while the VM is off',
    },
  ]),
  ...mutantsOf('lib/migration/incoming.ts', protection, [
    {
      name: 'secret/ours-alone',
      defence: 'A secret that is not ours is not removed',
      spec: '5.1',
      find: 'uuid === vm.secret && usageName === secretUsage(vm.uuid))) {\n    await',
      replace: "uuid === vm.secret && usageName !== '')) {\n    await",
      title: 'touches no secret of somebody else’s',
    },
  ]),
  ...mutantsOf('lib/migration/left-keys.ts', protection, [
    {
      name: 'secret/left-by-a-killed-agent',
      defence: 'A key that a killed agent left in libvirt is taken out',
      spec: '8.3',
      find: '      if (!isStarting(domain)) await forgetSecret(hypervisor, record);\n',
      replace: '      void [isStarting(domain), forgetSecret];\n',
      title: 'takes a key out of libvirt that a killed agent left there, but for a VM that starts',
    },
  ]),
  ...mutantsOf('lib/migration/agent-hint.ts', protection, [
    {
      name: 'hint/holder-alone',
      defence: 'The agent names itself in VMs that it holds, and in no others',
      spec: '7.2',
      find: '  if (record?.holder !== identity.id.name || !held.has(record.state)) return;',
      replace: '  if (record === null || identity.id.name === "" || held.size === 0) return;',
      title: 'writes this agent’s address into the VMs that it holds, and into no others',
    },
  ]),
  ...mutantsOf('lib/libvirt/xml.ts', bounds, [
    {
      name: 'bounds/xml-bytes',
      defence: 'A domain’s XML is measured before it is read',
      spec: '11',
      find: '  if (Buffer.byteLength(text) > bytesMax) {',
      replace: '  if (bytesMax < 0) {',
      title: 'hold for the bytes of a domain’s XML',
    },
    {
      name: 'bounds/xml-depth',
      defence: 'The depth of a domain’s XML is bounded before it is read',
      spec: '11',
      find: 'else if (depth + 1 > depthMax) throw',
      replace: 'else if (depth + 1 > 99 * depthMax) throw',
      title: 'hold for the depth of a domain’s XML',
    },
  ]),
  ...mutantsOf('lib/encoding/cbor.ts', bounds, [
    {
      name: 'bounds/cbor-items',
      defence: 'The items of an array or map are bounded before they are read',
      spec: '11',
      find: "  if (count > limits.cborItemsMax)\n    throw new TvmmpError('limit-exceeded', `CBOR: ${count} items in one array or map`);\n  if (count > reader",
      replace: '  if (count > reader',
      title: 'hold for the items of CBOR',
    },
  ]),
  ...mutantsOf('lib/proof/proof.ts', bounds, [
    {
      name: 'bounds/proof-entries',
      defence: 'The entries of a proof are bounded',
      spec: '11',
      find: '  entries: listOf(signedEntryShape, { min: 1, max: limits.proofEntriesMax }),',
      replace: '  entries: listOf(signedEntryShape, { min: 1, max: 2 * limits.proofEntriesMax }),',
      title: 'hold for the entries of a proof',
    },
  ]),
  ...mutantsOf('lib/certificates/untrusted-certificate.ts', bounds, [
    {
      name: 'bounds/certificate',
      defence: 'A certificate is measured before it is parsed',
      spec: '11',
      find: '  if (bytes.byteLength > limits.certificateBytesMax) {',
      replace: '  if (bytes.byteLength > 99 * limits.certificateBytesMax) {',
      title: 'hold for a certificate',
    },
  ]),
  ...mutantsOf('lib/evidence/event-log.ts', bounds, [
    {
      name: 'bounds/event-log-bytes',
      defence: 'An event log is measured before it is read',
      spec: '11',
      find: '  if (bytes.byteLength > limits.eventLogBytesMax) {',
      replace: '  if (bytes.byteLength > 99 * limits.eventLogBytesMax) {',
      title: 'hold for the bytes and the events of an event log',
    },
    {
      name: 'bounds/events',
      defence: 'The events of a log are bounded',
      spec: '11',
      find: '  if (events.length > limits.eventsMax) reader',
      replace: '  if (events.length > 99 * limits.eventsMax) reader',
      title: 'hold for the bytes and the events of an event log',
    },
  ]),
  ...mutantsOf('lib/evidence/ima-list.ts', bounds, [
    {
      name: 'bounds/ima-entries',
      defence: 'The entries of a list are bounded, also where it is continued',
      spec: '11',
      find: '    if (number >= limits.imaEntriesMax) reader',
      replace: '    if (number >= 99 * limits.imaEntriesMax) reader',
      title: 'hold for the entries of an IMA list, also of one that is continued',
    },
  ]),
];
