/** Appraisal of evidence in standard formats: real boots (test/vectors/boot) and what happens where one thing is wrong. */
import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { appraiseEvidence } from '../../../lib/appraisal/evidence-appraisal.ts';
import type { EvidenceInput } from '../../../lib/appraisal/evidence-appraisal.ts';
import { evidenceChecks, evidenceReason } from '../../../lib/appraisal/evidence-verdict.ts';
import type { EvidenceCheckName, EvidenceVerdict } from '../../../lib/appraisal/evidence-verdict.ts';
import type { EventLogRules, ImaRules } from '../../../lib/appraisal/log-rules.ts';
import { BootEvidence, recordedNonce } from '../../support/boot-evidence.ts';

const boot = new BootEvidence('debian-secure-boot');
const off = new BootEvidence('secure-boot-off');
const good = boot.input();

function outcomes(verdict: EvidenceVerdict, outcome = 'fail'): readonly EvidenceCheckName[] {
  return verdict.checks.filter((check) => check.outcome === outcome).map(({ name }) => name);
}

/** Refused, first of all because of this check. */
function refusedBy(input: EvidenceInput, name: EvidenceCheckName, found?: RegExp): void {
  const verdict = appraiseEvidence(input);
  assert.equal(verdict.accepted, false);
  assert.equal(outcomes(verdict)[0], name, evidenceReason(verdict));
  assert.deepEqual(
    verdict.checks.map((check) => check.name),
    [...evidenceChecks],
  );
  if (found !== undefined)
    assert.match(verdict.checks.find((check) => check.name === name)?.found ?? '', found);
}

const withEventLog = (change: Partial<EventLogRules>): EvidenceInput =>
  boot.input({ eventLog: { ...boot.eventLogRules(), ...change } });
const withIma = (change: Partial<ImaRules>): EvidenceInput =>
  boot.input({ ima: { ...boot.imaRules(), ...change } });

describe('evidence of a real boot', () => {
  it('is accepted by a policy that rules everything, each check by name', () => {
    const verdict = appraiseEvidence(good);
    assert.equal(verdict.accepted, true, evidenceReason(verdict));
    assert.deepEqual([...outcomes(verdict, 'pass'), 'host-rules'], [...evidenceChecks]);
    assert.equal(verdict.state, 'recorded');
    assert.deepEqual(verdict.ima, { covered: boot.imaEntries().length, later: 0 });
    assert.equal(evidenceReason(verdict), 'accepted');
  });

  it('is accepted without Secure Boot where the policy wants it off', () => {
    const verdict = appraiseEvidence(off.input({ eventLog: { secureBoot: false }, ima: undefined }));
    assert.equal(verdict.accepted, true, evidenceReason(verdict));
  });

  it('needs no logs where the policy asks nothing of them and has all quoted PCRs', () => {
    const { eventLog, ima, ...bare } = boot.input({
      eventLog: undefined,
      ima: undefined,
      pcrs: boot.quotedPcrs,
    });
    assert.ok(eventLog && ima);
    const verdict = appraiseEvidence(bare);
    assert.equal(verdict.accepted, true, evidenceReason(verdict));
    assert.ok(outcomes(verdict, 'not-asked').includes('secure-boot'));
    assert.ok(outcomes(verdict, 'not-asked').includes('ima-list'));
  });

  it('judges the part of an IMA list that the quote covers, and counts the rest', () => {
    const later = boot.laterImaEntry('/usr/bin/later', 'later');
    const verdict = appraiseEvidence({ ...good, ima: Buffer.concat([good.ima ?? Buffer.alloc(0), later]) });
    assert.equal(verdict.accepted, true, evidenceReason(verdict));
    assert.deepEqual(verdict.ima, { covered: boot.imaEntries().length, later: 1 });
  });
});

describe('evidence is refused', () => {
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey;
  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey;
  const flipped = (bytes: Uint8Array, at: number): Uint8Array => {
    const copy = Uint8Array.from(bytes);
    copy.set([copy.at(at)! ^ 1], at);
    return copy;
  };

  it('for the key: a weak one, another one', () => {
    refusedBy({ ...good, ak: weak }, 'ak');
    refusedBy({ ...good, ak: other }, 'quote-signature');
  });

  it('for the quote: changed, garbage, another structure, not ours', () => {
    refusedBy({ ...good, attest: flipped(good.attest, 60) }, 'quote-signature');
    refusedBy({ ...good, signature: Buffer.from('garbage') }, 'quote-signature');
    refusedBy({ ...good, attest: Buffer.from('garbage') }, 'quote-signature');
    refusedBy({ ...good, nonce: Buffer.from('another nonce') }, 'quote-nonce');
    refusedBy({ ...good, nonce: recordedNonce.subarray(1) }, 'quote-nonce');
  });

  it('for PCRs that the quote does not cover', () => {
    const state = new Map([[11, new Uint8Array(32)]]);
    refusedBy(
      { ...good, policy: { ...good.policy, pcrs: [11], states: [{ name: 'x', pcrs: state }] } },
      'pcr-selection',
      /^sha256:0,1,2/,
    );
  });

  it('for logs that are missing, although the policy has rules about them', () => {
    const { eventLog, ...noEventLog } = good;
    const { ima, ...noIma } = good;
    assert.ok(eventLog && ima);
    refusedBy(noEventLog, 'event-log', /^none/);
    refusedBy(noIma, 'ima-list', /^none/);
  });

  it('for logs that cannot be read, by the name of the fault', () => {
    refusedBy({ ...good, eventLog: good.eventLog!.subarray(0, -3) }, 'event-log', /truncated/);
    refusedBy(
      { ...good, eventLog: Buffer.concat([good.eventLog!, Buffer.from('x')]) },
      'event-log',
      /trailing-bytes/,
    );
    refusedBy({ ...good, eventLog: new Uint8Array() }, 'event-log', /empty/);
    refusedBy({ ...good, ima: good.ima!.subarray(0, -3) }, 'ima-list', /truncated/);
    refusedBy({ ...good, ima: Buffer.from('10 text') }, 'ima-list');
  });

  it('for logs that do not lead to the quote, whatever the policy asks', () => {
    refusedBy({ ...good, eventLog: off.input().eventLog! }, 'pcr-values');
    refusedBy({ ...good, ima: off.input().ima! }, 'pcr-values');
    refusedBy(
      { ...boot.input({ eventLog: undefined, ima: undefined }), ima: off.input().ima! },
      'pcr-values',
    );
    refusedBy({ ...good, eventLog: boot.eventLogWithout(5) }, 'pcr-values', /PCR 7 is/);
    refusedBy({ ...good, ima: boot.imaWithout(3) }, 'pcr-values');
    refusedBy({ ...good, ima: boot.imaReordered(3, 4) }, 'pcr-values');
  });

  it('for logs that do not lead to the quote: no rule about them passes', () => {
    const verdict = appraiseEvidence({ ...good, ima: off.input().ima! });
    const from = evidenceChecks.indexOf('pcr-values');
    const passed = verdict.checks.slice(from).filter(({ outcome }) => outcome === 'pass');
    assert.deepEqual(passed, []);
  });

  it('for a state that is not approved', () => {
    const [state] = good.policy.states;
    const pcrs = new Map(state!.pcrs).set(7, new Uint8Array(32));
    refusedBy({ ...good, policy: { ...good.policy, states: [{ name: 'other', pcrs }] } }, 'pcr-state');
  });

  it('for an EventType that was changed, although every digest is right', () => {
    refusedBy(
      { ...good, eventLog: boot.eventLogRetyped('SecureBoot = 01', 'EV_EFI_VARIABLE_BOOT') },
      'event-log-events',
      /^unexpected-type: event 4/,
    );
    refusedBy(
      { ...good, eventLog: boot.eventLogRetyped('SecureBoot = 01', 0x80000abc) },
      'event-log-events',
      /unknown-type/,
    );
    // An image passed off as an action: its digest is in no list, and is not that of its data either.
    const image = '\\EFI\\BOOT\\grubx64.efi';
    const hidden = boot.input({ eventLog: { images: boot.digestsOf(4).slice(0, 1) } });
    refusedBy({ ...hidden, eventLog: boot.eventLogRetyped(image, 'EV_EFI_ACTION') }, 'event-log-events');
  });

  it('for Secure Boot and its keys', () => {
    refusedBy(off.input({ eventLog: { secureBoot: true }, ima: undefined }), 'secure-boot', /^off/);
    refusedBy(withEventLog({ secureBoot: false }), 'secure-boot', /^on/);
    refusedBy(withEventLog({ keys: { db: ['00'.repeat(32)] } }), 'secure-boot-keys', /^db holds/);
    refusedBy(withEventLog({ keys: { dbx: ['00'.repeat(32)] } }), 'secure-boot-keys', /^dbx lacks/);
  });

  it('for firmware, boot loader, files and command line that are not listed', () => {
    refusedBy(withEventLog({ firmware: [] }), 'firmware', /bytes at 0x820000/);
    refusedBy(withEventLog({ images: boot.digestsOf(4).slice(1) }), 'boot-images', /BOOTX64\.EFI/);
    refusedBy(withEventLog({ bootFiles: boot.digestsOf(9).slice(1) }), 'boot-files', /grub\.cfg/);
    refusedBy(
      withEventLog({ commandLines: ['/boot/vmlinuz quiet'] }),
      'command-lines',
      /tvmmp|console=ttyS0/,
    );
  });

  it('for a command line whose label says that it is a command', () => {
    const label = 'kernel_cmdline: /boot/vmlinuz';
    const relabelled = boot.eventLogRelabelled(label, 'grub_cmd: /boot/vmlinuz');
    assert.equal(appraiseEvidence({ ...good, eventLog: relabelled }).accepted, true);
    refusedBy(
      { ...withEventLog({ commandLines: ['/boot/other'] }), eventLog: relabelled },
      'command-lines',
      /vmlinuz/,
    );
  });

  it('for files that are not listed, or with other contents, and for violations', () => {
    const { files } = boot.imaRules();
    refusedBy(withIma({ files: {} }), 'ima-files', /^\d+ others: kernel_version is not listed/);
    refusedBy(
      withIma({ files: { ...files, '/bin/tpm2': [`sha256:${'00'.repeat(32)}`] } }),
      'ima-files',
      /^1 others: \/bin\/tpm2 has another digest/,
    );
    refusedBy(withIma({ excluded: ['/tmp/other*'] }), 'ima-files', /\/tmp\/hello is not listed/);
    refusedBy(off.input({ eventLog: undefined, ima: off.imaRules() }), 'ima-violations', /^1: entry 5/);
    const allowed = off.input({ eventLog: undefined, ima: { ...off.imaRules(), allowViolations: true } });
    assert.equal(appraiseEvidence(allowed).accepted, true);
  });

  it('does not take the public key from the evidence', () => {
    const { ak } = good;
    assert.ok(createPublicKey(readFileSync(boot.file('ak.pem'))).equals(ak));
  });
});
