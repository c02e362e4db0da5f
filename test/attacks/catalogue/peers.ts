/** Rows 1 to 7: who is at the other end, and whether what it says is of now and of here. */
import { tests } from './attack.ts';
import type { Attack } from './attack.ts';

const channel = 'test/attacks/channel.test.ts';
const copies = 'test/attacks/copies.test.ts';
const domain = 'test/attacks/domain.test.ts';
const evidence = 'test/attacks/evidence.test.ts';
const insider = 'test/attacks/insider.test.ts';
const hooks = 'test/attacks/hooks.test.ts';
const logEvidence = 'test/unit/appraisal/log-evidence.test.ts';
const logs = 'test/unit/migration/logs.test.ts';
const logsOfHosts = 'test/system/logs.test.ts';
const offer = 'test/attacks/offer.test.ts';
const platform = 'test/attacks/platform.test.ts';
const state = 'test/attacks/state.test.ts';

export const peers: readonly Attack[] = [
  {
    row: 1,
    attack: 'Man in the middle between the agents',
    dimensions: ['communication security', 'authentication'],
    defence:
      'TLS 1.3 with agent certificates of one authority on both sides; the quote covers the TLS exporter and both TLS certificates',
    spec: '1.1, 6, 6.2',
    tests: [
      tests(
        channel,
        'drops what is not TLS',
        'drops a client without a certificate',
        'drops an agent certificate of another authority',
        'drops the migration certificate of an enrolled host',
        'does not send to a destination that shows a certificate of another authority',
      ),
      tests(
        evidence,
        'refuses evidence that was made for another TLS channel with the same hellos',
        'refuses evidence for the same channel between other TLS certificates',
      ),
    ],
    queries: [
      'proverif/attestation.pv: source-agrees',
      'proverif/attestation.pv: target-agrees',
      'horn/exchange-queries.ts: offer and attestation agree on the channel',
    ],
  },
  {
    row: 1,
    attack: 'Man in the middle of the memory stream',
    dimensions: ['data confidentiality', 'communication security'],
    defence:
      'The source commits itself only to a migration with TLS; QEMU verifies certificates of the same authority',
    spec: '6.6',
    tests: [
      tests(domain, 'refuses a migration without --tls'),
      tests(
        'test/unit/authority/migration-tls.test.ts',
        'does not take a server for another host',
        'does not connect hosts of two authorities',
      ),
    ],
    queries: ['proverif/state.pv: memory-enrolled', 'proverif/state.pv: state-secret'],
  },
  {
    row: 1,
    attack: 'The definition is changed on its way',
    dimensions: ['data integrity'],
    defence:
      'Hash of the facts in *departing*, compared with the XML that the destination’s libvirt was given',
    spec: '6.7, 7.1',
    tests: [
      tests(
        domain,
        'refuses a VM with another disk',
        'refuses a VM with another emulator',
        'refuses a VM with no encryption of its vTPM',
        'refuses a VM with another secret for its vTPM',
        'refuses a VM with arguments of its own for QEMU',
        'refuses a VM with its metadata stripped',
      ),
    ],
    queries: ['horn/exchange-queries.ts: staging and offer agree on the definition'],
  },
  {
    row: 2,
    attack: 'Bait and switch: a good host attests, another one gets key and proof',
    dimensions: ['authentication', 'access control'],
    defence:
      'TLS name, hello and AK certificate must name one host, and its quote be bound to this channel; *departing* names the one destination',
    spec: '6.2, 6.5, 4',
    tests: [
      tests(
        evidence,
        'refuses the evidence of beta that a relay passes on',
        'refuses a receive key that is not the certified one',
      ),
      tests(offer, 'refuses a proof that hands the VM to another host'),
      tests(
        'test/vectors/proof.test.ts',
        'holder-bait-and-switch: the holder attested beta and gamma arrives',
      ),
    ],
    queries: [
      'proverif/attestation.pv: released-to-certified',
      'horn/exchange-queries.ts: offer and attestation agree on both hosts',
    ],
  },
  {
    row: 2,
    attack: 'Bait and switch of the memory stream: one host attests, libvirt sends to another',
    dimensions: ['data confidentiality', 'communication security'],
    defence:
      '`tvmmp migrate` has QEMU accept the attested host’s certificate alone; a host without the key cannot run the VM',
    spec: '5.1, 13',
    tests: [
      tests(
        insider,
        'sends no memory to another host than the one that attested itself',
        'starts nothing at a host that took its hook away: it has no key for the vTPM',
      ),
    ],
    queries: ['proverif/state.pv: memory-named', 'proverif/state.pv: state-secret'],
    limit:
      'Plain `virsh migrate` to an enrolled host whose root took the hook away fails, but memory has travelled by then: nothing at the source can hold it back (SPEC 13).',
  },
  {
    row: 3,
    attack: 'Insecure destination: changed, not enrolled, without a TPM',
    dimensions: ['access control', 'authentication'],
    defence:
      'Appraisal by the source’s signed policy; the receive key opens in approved states alone, by the TPM’s own check',
    spec: '5.2, 6.5, 10',
    tests: [
      tests(
        platform,
        'keeps the key shut when PCRs change between the appraisal and the unsealing',
        'lets no key out that a slow TPM opened ahead, once PCRs have changed',
        'refuses a destination whose PCRs changed before the session',
        'refuses a destination without a TPM',
      ),
      tests(
        domain,
        'refuses a host that nobody enrolled',
        'gives no key to a host that was never told that the VM is protected',
      ),
      tests(
        evidence,
        'refuses an AK certificate of another authority',
        'refuses PCR values that the quote does not cover',
        'refuses a quote of fewer PCRs than the policy’s',
      ),
    ],
    queries: [
      'proverif/attestation.pv: released-to-attested',
      'proverif/attestation.pv: key-secret',
      'horn/exchange-queries.ts: no offer to a host that is not approved',
    ],
  },
  {
    row: 3,
    attack:
      'Logs that do not tell what was measured: cut, of another boot, with an event’s type changed, left out as if they were known, without end',
    dimensions: ['data integrity', 'availability'],
    defence:
      'They have to lead to the quote; types are not believed; a list goes on where the verifier stands and in the same boot, or begins anew; pieces, time and memory are bounded',
    spec: '6.11, 10.2, 14',
    tests: [
      tests(
        logs,
        'Secure Boot is off in its log',
        'its kernel was booted with another command line',
        'a file was changed under IMA',
        'its event log is cut short',
        'its IMA list lacks the last entry that the quote covers',
        'its logs are those of another boot',
        'the type of an event in a PCR that matters was changed to one that nobody knows',
        'that it had told the beginning of its list before is refused',
        'is not listened to without end',
      ),
      tests(logEvidence, 'as a continuation of another boot, or left out in one'),
      tests(
        logsOfHosts,
        'refuse a host on which a file was changed',
        'refuse a host that was booted with Secure Boot off',
      ),
    ],
    queries: [],
  },
  {
    row: 4,
    attack: 'Evidence that was recorded in an earlier session is replayed',
    dimensions: ['authentication', 'communication security'],
    defence: 'The quote’s qualifying data covers both hellos with their nonces, the session and the channel',
    spec: '6.2, 6.3, 6.4',
    tests: [
      tests(
        evidence,
        'refuses evidence that was replayed from an earlier session',
        'refuses a quote over another nonce',
        'refuses a quote for another VM',
        'refuses a quote in the role of a source',
        'breaks off at a hello that gives the source its own nonce back',
      ),
      tests(
        offer,
        'refuses the source’s evidence of an earlier session',
        'refuses the source’s evidence in the role of a target',
      ),
    ],
    queries: [
      'proverif/attestation.pv: source-fresh',
      'proverif/attestation.pv: target-fresh',
      'horn/exchange-queries.ts: an attestation serves one run of a source',
    ],
  },
  {
    row: 4,
    attack: 'A session, a message of another session or a permit is used again',
    dimensions: ['access control', 'data integrity'],
    defence:
      'Session ids are good once and checked on every message; a permit is consumed in one durable write',
    spec: '6.1, 6.8, 8.1',
    tests: [
      tests(
        offer,
        'refuses a session id that was used before',
        'takes no part in a session that it has disclaimed',
        'refuses a proof that hands the VM over in another session',
      ),
      tests(
        copies,
        'does not take arrived from a host whose session it is not',
        'does not take abort from a host whose session it is not',
        'does not take aborted from a host whose session it is not',
        'does not take query from a host whose session it is not',
        'does not take staged from a host whose session it is not',
        'does not take departed from a host whose session it is not',
      ),
      tests(
        evidence,
        'breaks off at a hello of another session',
        'breaks off at a hello of another VM',
        'breaks off at a hello of the source’s own role',
        'seals to nobody whose evidence carries another session',
      ),
      tests(hooks, 'lets a VM in once for a permit, and no other VM for it'),
    ],
    queries: [
      'horn/exchange-queries.ts: an offer serves one run of a target',
      'horn/exchange-queries.ts: destruction and arrival agree on session',
      'spin/suite.ts: session number checked on every message',
    ],
  },
  {
    row: 4,
    attack: 'VM and vTPM state that were recorded are started again elsewhere',
    dimensions: ['access control', 'data integrity'],
    defence: 'A protected VM starts only where the journal says that this host holds it',
    spec: '8.2, 8.3',
    tests: [
      tests(
        copies,
        'refuses to start what was left behind at the old host',
        'refuses to start a copy at a third enrolled host, whose agent runs or does not',
      ),
      tests(state, 'does not restore a saved state once the VM has gone on'),
    ],
    queries: ['spin/suite.ts: two runnable', 'proverif/state.pv: state-secret'],
  },
  {
    row: 5,
    attack: 'Use after export: the source goes on with the VM or its vTPM',
    dimensions: ['access control', 'data integrity'],
    defence:
      'After *arrived* the source destroys secret, sealed key and vTPM state, looks that they are gone, and signs *departed*',
    spec: '2, 6.8, 8.3',
    tests: [
      tests(
        copies,
        'refuses to start what was left behind at the old host',
        'gives the old host no say once the VM has moved',
      ),
      tests(state, 'opens vTPM state to nobody who has the files and not the key'),
      tests(
        'test/vectors/proof.test.ts',
        'holder-returns: the old holder goes on after its successor arrived: a copy that was not destroyed',
        'life-cycle-used-while-departing: the source uses the VM on after it committed to hand over',
      ),
    ],
    queries: [
      'horn/exchange-queries.ts: no end without the destruction',
      'spin/suite.ts: key left',
      'spin/suite.ts: start gate refuses a departing VM',
    ],
    limit:
      'A former holder in an approved state whose root kept the open key, and who later gets the vTPM’s state, can read it: the key does not change by a move (SPEC 13).',
  },
  {
    row: 5,
    attack: 'Duplicate vTPM: two destinations at once, or an arrival that did not happen',
    dimensions: ['data integrity', 'availability'],
    defence: 'One session per VM; the source believes *arrived* only when libvirt agrees that the VM left',
    spec: '6.6, 6.8',
    tests: [
      tests(domain, 'lets one of two migrations of one VM go, or none, and never both'),
      tests(copies, 'destroys nothing because a target says that the VM arrived while it runs here'),
      tests(offer, 'refuses to take a VM that it holds itself'),
    ],
    queries: [
      'horn/exchange-queries.ts: no destruction without the arrival',
      'spin/suite.ts: two runnable',
      'spin/suite.ts: forked',
      'spin/suite.ts: libvirt asked before arrived is believed',
    ],
  },
  {
    row: 5,
    attack:
      'Duplicate vTPM by a rescue: a host takes up a VM that is not lost, or not for it; a second one replays the word of the authority; the lost host comes back',
    dimensions: ['data integrity', 'access control', 'non-repudiation'],
    defence:
      'A proof changes hosts without *departing* only by a statement of the authority about this entry, host and loss, which every verifier checks; one for each epoch; the key is sealed for that statement; the lost host is revoked, and starts nothing once it or the ledger says so',
    spec: '15.4, 15.5, 8.2, 8.6',
    tests: [
      tests(
        offer,
        'refuses a VM that its source says it recovered, on its own word, or by a statement that it signed itself',
      ),
      tests(
        'test/system/rescue.test.ts',
        'is asked for by two other hosts, and the authority gives the VM to one, once the lost host is revoked',
        'is not taken up before everything fits, nor by a host that it was not stated for',
        'moves on from there, and the statement is good for nothing any more',
        'comes back with its TPM: the ledger does not let it start its copy, and its own revocation lets it start nothing',
      ),
      tests(
        'test/vectors/proof.test.ts',
        'recovered-statement-for-another-host: a second host replays the statement that the authority signed for the first',
        'recovered-statement-about-another-entry: the chain was cut off, or went on, after the statement was made',
        'recovered-against-the-tenant: the tenant of the VM has forbidden escrow',
      ),
      tests(
        'test/unit/migration/rescue.test.ts',
        'is not taken up against the ledger: another host held it since',
        'is not taken up against its tenant, whatever the authority says',
      ),
    ],
    limit:
      'A host that was said to be lost and is not, with its TPM and an embedded ledger, runs the VM on as long as it meets nobody (SPEC 15.5).',
  },
  {
    row: 6,
    attack: 'Pieces of the proof left out, reordered, forged or of another VM',
    dimensions: ['data integrity', 'non-repudiation'],
    defence: 'Hash chain with sequence numbers, each entry under a TPM quote of its own',
    spec: '4',
    tests: [
      tests(
        offer,
        'refuses a proof with an entry dropped',
        'refuses a proof with entries in another order',
        'refuses a proof with an entry forged',
        'refuses the good proof of another VM',
        'refuses a proof that does not end with departing',
      ),
      tests(
        'test/property/proof.test.ts',
        'with entries left out, repeated or in another order, it is refused, and one cut short says no more than it has',
        'with one part of an entry taken from another entry, it is refused',
      ),
    ],
    queries: [
      'horn/exchange-queries.ts: staging and offer agree on the chain',
      'horn/chain-attacks.ts: no entry is accepted that its host did not sign',
      'horn/chain-attacks.ts: no entry is accepted in another life than its own',
      'horn/checkpoint-attacks.ts: no past is taken that the offering host made up',
    ],
  },
  {
    row: 6,
    attack:
      'The end of a proof cut off, or an old answer shown again: a tenant is made to believe that its VM is still where it was',
    dimensions: ['data integrity', 'non-repudiation', 'authentication'],
    defence:
      'The holder attests the VM over a nonce of the tenant, with the last entry, in an approved state; a host that has handed it over, or is doing so, does not',
    spec: '4.3',
    tests: [
      tests(
        'test/vectors/attestation.test.ts',
        'tail-cut-off: the proof was cut off before the move; the holder of now attests the whole',
        'head-put-in: the head of a proof that was cut off was put into the attestation',
        'old-nonce: it was made for the nonce of another day',
        'nonce-put-in: the nonce of yesterday was replaced in the file, and not in the quote',
        'by-former-holder: the host that the VM left says that it holds it',
        'nonce-alone: the AK quoted the nonce as it is, say for another verifier',
      ),
      tests(
        'test/unit/migration/attestation.test.ts',
        'is of the host that holds the VM now: after a move of the next one, and of the one before no more',
        'is not handed out where the VM began to leave while the TPM was at work',
        'is refused where the ledger knows of a later holder',
      ),
    ],
  },
  {
    row: 6,
    attack: 'The word of the owner of a VM left out, replaced, taken from another VM, or made a bomb',
    dimensions: ['access control', 'data integrity'],
    defence:
      'The chain and its summaries name the tenant policy by its digest; same key, higher version; both hosts and whoever verifies the proof look at it',
    spec: '10.5, 4.1',
    tests: [
      tests(
        offer,
        'refuses a VM whose owner does not want its holder, or whose policy is left out or a bomb',
      ),
      tests(
        'test/vectors/proof.test.ts',
        'tenant-policy-stripped: the policy was taken out of the proof, so that nobody can hold hosts against it',
        'tenant-entry-stripped: the entry that binds the VM was taken out of the chain',
        'tenant-older-version: a holder goes back to an earlier policy of the tenant, which asked for less',
        'tenant-other-signer: somebody else, the operator say, signs a policy in place of the tenant',
        'tenant-other-vm: a policy that the tenant signed for another VM',
        'tenant-refuses-holder-from-checkpoint: a checkpoint before the move does not make the tenant be forgotten',
      ),
      tests(
        'test/unit/appraisal/tenant-policy.test.ts',
        'with a condition that is a bomb are refused before it goes off',
      ),
      tests(
        'test/system/tenant.test.ts',
        'does not go to a host of another region, and runs on where it is',
        'takes a newer policy of its tenant alone, never an older one',
      ),
    ],
  },
  {
    row: 6,
    attack: 'Messages out of turn, or a key that belongs to another hand-over',
    dimensions: ['data integrity', 'communication security'],
    defence:
      'State machines that take each message in one state alone; VM, epoch, session and recipient are in the seal',
    spec: '5.3, 6.8',
    tests: [
      tests(
        evidence,
        'breaks off at staged where evidence is due',
        'breaks off at aborted where evidence is due',
        'breaks off at query where evidence is due',
        'breaks off at hello where evidence is due',
      ),
      tests(
        hooks,
        'refuses a vTPM key that was sealed for another VM',
        'refuses a vTPM key that was sealed for another epoch',
        'refuses a vTPM key that was sealed for another session',
      ),
    ],
    queries: [
      'horn/exchange-queries.ts: staging and offer agree on the vTPM key',
      'horn/exchange-queries.ts: a start opens no key of another VM',
      'spin/suite.ts: session number checked on every message',
    ],
  },
  {
    row: 7,
    attack: 'Cuckoo in the guest: a key of another TPM, or of none, answers a tenant for the vTPM of its VM',
    dimensions: ['authentication', 'data integrity'],
    defence:
      'The quote is over a secret that only the endorsement key named in the proof opens, and only for a key of the same TPM; together with the attestation of the host, over the same nonce',
    spec: '4.4',
    tests: [
      tests(
        'test/unit/cli/deep-attestation.test.ts',
        'is of no use with a key of another TPM: neither TPM opens the credential',
        'challenges no vTPM but that of the proof',
      ),
      tests(
        'test/unit/proof/vtpm-quote.test.ts',
        'does not hold over the nonce alone: whoever made it has not shown that its key is in the vTPM',
        'is asked for by no challenge to a key that could be elsewhere, sign anything, or be stood for by a policy',
      ),
    ],
  },
  {
    row: 7,
    attack: 'Relay, proxy and cuckoo: evidence of another machine, or of software that plays a TPM',
    dimensions: ['authentication', 'communication security'],
    defence:
      'Channel binding (exporter and TLS certificates in the quote), one name in TLS, hello and AK certificate, AK certified after credential activation',
    spec: '1.2, 6.2, 6.5',
    tests: [
      tests(
        evidence,
        'refuses the evidence of beta that a relay passes on',
        'refuses the AK certificate of beta with a quote of mallory',
        'refuses a quote signed by a key in software',
        'breaks off at a hello of the name of the source itself',
      ),
      tests(
        'test/unit/authority/enrolment.test.ts',
        "the attestation key of another TPM cannot answer: the credential is for the EK's TPM alone",
      ),
    ],
    queries: ['proverif/attestation.pv: source-agrees', 'proverif/attestation.pv: released-to-attested'],
  },
];
