/** Rows 8 to 14 and 20: state that goes back, copies, insiders, guests. */
import { tests } from './attack.ts';
import type { Attack } from './attack.ts';

const channel = 'test/attacks/channel.test.ts';
const copies = 'test/attacks/copies.test.ts';
const domain = 'test/attacks/domain.test.ts';
const insider = 'test/attacks/insider.test.ts';
const hooks = 'test/attacks/hooks.test.ts';
const offer = 'test/attacks/offer.test.ts';
const platform = 'test/attacks/platform.test.ts';
const secrets = 'test/attacks/secrets.test.ts';
const sealedKey = 'test/native/sealed-key.test.ts';
const atRest = 'test/attacks/state.test.ts';
const vtpmState = 'test/native/vtpm-state.test.ts';

export const state: readonly Attack[] = [
  {
    row: 8,
    attack: 'Replaced NVRAM: vTPM state taken away, in clear, or of another VM in its place',
    dimensions: ['data integrity'],
    defence:
      'The start gate takes the vTPM state of the last stop alone; swtpm opens with the VM’s own key alone',
    spec: '5.1, 8.2, 8.4',
    tests: [
      tests(
        atRest,
        'does not start a VM whose vTPM state was taken away',
        'does not start a VM with vTPM state in clear in the place of its own',
        'does not start a VM with the vTPM state of another protected VM',
        'opens vTPM state to nobody who has the files and not the key',
      ),
    ],
    queries: ['proverif/state.pv: state-own', 'spin/suite.ts: start gate asks for the vTPM’s state'],
  },
  {
    row: 8,
    attack:
      'Another vTPM under the VM’s own key comes with a move: a former holder that kept the key, in the place of the source',
    dimensions: ['data integrity', 'authentication'],
    defence:
      'After each arrival the host reads the endorsement key from the seed of the vTPM, and compares it with the proof; a VM with another one neither leaves nor starts again',
    spec: '4.5',
    tests: [
      tests(
        'test/native/vtpm-identity.test.ts',
        'is found out where the state directory was exchanged for that of another vTPM under the same key',
      ),
      tests(
        'test/unit/migration/vtpm-identity.test.ts',
        'is told of as another one than the proof names, with the host that it came from, and runs on',
        'goes nowhere, is attested to nobody and does not start again where it is another one than the proof names',
        'is another one where only what lies in the place of its endorsement key has the right name, and not its seed',
      ),
    ],
    limit: 'It is found out after the source has destroyed the true state (SPEC 4.5).',
  },
  {
    row: 8,
    attack: 'Older vTPM state of the same VM is put back by root on the holder while the VM is off',
    dimensions: ['data integrity'],
    defence:
      'Digest of the vTPM’s state at each stop, and of earlier ones: only the last starts; none from before after a power cut either; a counter in the TPM where the whole disk is put back',
    spec: '8.4, 8.8',
    tests: [
      tests(
        atRest,
        'does not start a VM with an older state of its vTPM in the place of the last one',
        'does not start a VM with vTPM state that was changed while it was off',
      ),
      tests(
        'test/system/life-cycle.test.ts',
        'does not start with an older vTPM after the host lost its power',
      ),
      tests(
        'test/unit/migration/vtpm-states.test.ts',
        'refuses every earlier state, whether the end of the last run was seen or not',
      ),
      tests(
        'test/system/rollback.test.ts',
        'does not start a VM that another host holds by now, though journal, vTPM and definition say that it may',
        'does not start a VM that has gone on since, until an administrator adopts it, in the proof',
      ),
    ],
    limit:
      'A state copied between two looks at a running VM, put back after a power cut, is not noticed; nor is a whole disk of the last minutes (SPEC 13).',
  },
  {
    row: 9,
    attack: 'The VM goes back, its vTPM with it or not: an old saved state or a snapshot is restored',
    dimensions: ['data integrity'],
    defence:
      'Restore passes the gate only where *saved* is the last entry; memory carries the number of its run, and only that of the run saved last comes back',
    spec: '8.2, 8.7',
    tests: [
      tests(atRest, 'does not restore a saved state once the VM has gone on'),
      tests(
        'test/system/life-cycle.test.ts',
        'refuses a saved state that is not the last one, or not the last thing that happened',
        'does not go back to a snapshot of the running VM, nor start with the disks of one, until an administrator says so',
      ),
    ],
    limit:
      'The contents of guest disks are not covered by the proof: an old disk under the same name is not noticed (SPEC 13).',
  },
  {
    row: 10,
    attack: 'Clone and fork: a copy of the VM is started at another host, or the chain is continued twice',
    dimensions: ['access control', 'data integrity', 'non-repudiation'],
    defence:
      'One holder an epoch; a host that knows the VM compares with its remembered head; two entries of one number convict who signed them',
    spec: '4, 8.2',
    tests: [
      tests(copies, 'refuses to start a copy at a third enrolled host, whose agent runs or does not'),
      tests(atRest, 'does not start a clone of a VM and its vTPM under another UUID'),
      tests(
        offer,
        'refuses the proof of a VM that another host holds',
        'refuses a fork of a chain that it has seen, and its continuation from an older entry',
      ),
      tests(
        'test/vectors/proof.test.ts',
        'known-head-forked: the holder signed another entry in the place of one that this host has seen',
        'known-head-rolled-back: an old proof to a host that has seen a later one: rollback',
        'previous-fork: the tail of one fork on the stem of another: the holder signed two entries 2',
      ),
      tests('test/unit/proof/verify.test.ts', 'convict a holder that signed two successors of one entry'),
    ],
    queries: [
      'horn/chain-suite.ts: no two chains part',
      'horn/checkpoint-attacks.ts: nothing that the target knows is left out',
      'spin/suite.ts: forked',
    ],
  },
  {
    row: 11,
    attack: 'Insider: other software is booted on an enrolled host',
    dimensions: ['access control'],
    defence: 'PCR policy of the receive key, checked by the TPM at each use; the appraisal of peers',
    spec: '5.2, 6.5',
    tests: [
      tests(
        platform,
        'refuses a destination whose PCRs changed before the session',
        'starts none of its own VMs in a state that nobody approved',
        'trusts the destination again when it has booted what was approved',
      ),
      tests(sealedKey, 'does not open once a PCR has changed, until the authority approves the new state'),
    ],
    queries: ['proverif/attestation.pv: key-secret', 'proverif/state.pv: state-secret'],
  },
  {
    row: 11,
    attack:
      'Insider: a host that was found bad is booted well for a moment, and hides that it was quarantined',
    dimensions: ['access control', 'non-repudiation'],
    defence:
      'Peers that refused its evidence remember it on disk until it attests itself well; its VMs come only with its quarantine in their proofs',
    spec: '16.2, 16.3, 16.4',
    tests: [
      tests(
        'test/system/quarantine.test.ts',
        'is still refused by its peer when root boots it well, and hides that it was quarantined',
      ),
      tests(
        'test/unit/migration/peer-attestations.test.ts',
        'gets no VM from a peer that refused it, though it boots well for the session and hides its quarantine',
        'keeps its VMs, too, where their proofs do not say that it is quarantined',
        'is not spoken ill of by evidence that is not its TPM’s',
      ),
    ],
    limit:
      'Not defended where the policy has no quarantine, or the host attested itself to nobody while it was bad: then its next session decides alone.',
  },
  {
    row: 11,
    attack:
      'Insider: hosts and authorities of other domains: not named by the policy, beyond what it lets them do, revoked by their own, certified as hosts of another, or trusted by a domain that is trusted',
    dimensions: ['access control', 'authentication'],
    defence:
      'The root of a certificate tells the domain, nothing that a host or an authority says of itself; the signed policy names root, policy key, policy and role of each; a VM crosses from its home and back alone, in the chain itself',
    spec: '17',
    tests: [
      tests(
        'test/unit/appraisal/domains.test.ts',
        'refuses a host of a domain that the policy does not name',
        'refuses a host in a role that the policy does not let its domain have',
        'refuses a host that is not what the policy asks of its domain, or of every host',
        'refuses a host whose authority certifies it as one of another domain',
        'refuses a certificate of another authority than that of the connection, in either direction',
        'refuses a receive key that another policy key opens than the one named',
        'refuses a host that its own authority has revoked, and one that announces a list that was not brought',
      ),
      tests(
        'test/unit/migration/domains.test.ts',
        'on to a domain that its domain trusts: from there it goes home or nowhere',
        'from a host that its own authority has revoked',
        'are taken from the policy key that our policy names alone',
      ),
      tests(
        'test/unit/agent/tls-channel.test.ts',
        'do not take a host of another domain for one of ours of the same name',
      ),
      tests(
        'test/vectors/proof.test.ts',
        'domain-of-a-domain: a domain hands on to a third what was given to it, though home names that one too',
        'domain-not-named: a host hands its VM to a domain that no policy names',
        'domain-root-not-given: who was not given the root of a domain does not believe its hosts, whatever policies say',
        'tenant-domain-pretended: the authority of a domain certifies its host as one of another',
      ),
    ],
    limit:
      'To name a domain is to believe its policy key about the states in which its hosts open what they were given (SECURITY.md).',
  },
  {
    row: 11,
    attack: 'Insider: the disk of a host is read or carried away',
    dimensions: ['data confidentiality'],
    defence: 'vTPM state is encrypted; its key is on disk only sealed to this TPM, in this context',
    spec: '5.1, 5.2, 5.3',
    tests: [
      tests(insider, 'opens no key from a stolen journal at another host’s TPM'),
      tests(atRest, 'opens vTPM state to nobody who has the files and not the key'),
      tests(vtpmState, 'cannot be opened without the key once encrypted'),
      tests(
        sealedKey,
        'does not open with an approval of another signer, reference or TPM',
        'does not open in another context',
        'does not open when any of its parts is altered',
      ),
      tests(secrets, 'is in no heap, journal, log, file or argument of the agents that handed it on'),
    ],
    queries: [
      'proverif/attestation.pv: key-secret',
      'horn/exchange-queries.ts: the vTPM key is secret',
      'proverif/state.pv: state-secret',
    ],
    limit:
      'Guest disks are not encrypted by us, and saved memory (`virsh save`) is a file in clear (SECURITY.md).',
  },
  {
    row: 11,
    attack: 'Insider: TLS keys or certificates of another host are used',
    dimensions: ['authentication'],
    defence:
      'A TLS key alone is no host: the AK of the same name, in its TPM, has to quote over this channel',
    spec: '1.1, 6.2, 6.5',
    tests: [
      tests('test/attacks/evidence.test.ts', 'refuses a host that has the TLS key of beta and not its TPM'),
      tests(channel, 'drops the migration certificate of an enrolled host'),
      tests(insider, 'does not serve with the certificate of another host’s AK'),
    ],
    queries: [
      'proverif/attestation.pv: source-agrees',
      'horn/exchange-queries.ts: offer and attestation agree on both hosts',
    ],
  },
  {
    row: 11,
    attack:
      'Insider: who has stolen the target’s TLS key keeps *arrived* from the source, and says *aborted* in the target’s place; or repeats the *aborted* of another session, or of another host',
    dimensions: ['authentication', 'data integrity'],
    defence:
      '*aborted* is a quote of the AK that *departing* named, over session and *departing* entry, in an approved state; nothing unsigned ends a session after the offer',
    spec: '6.8, 6.10',
    tests: [
      tests(
        'test/attacks/copies.test.ts',
        'takes the word of the very target, about this very departure, signed by its TPM, and no other for aborted',
      ),
      tests(
        'test/vectors/disclaimer.test.ts',
        'unsigned: who has the TLS key of the target alone signs nothing',
        'of-other-session: it was signed in another session',
        'of-other-departure: it was signed of another departing entry, under the same session id',
        'of-other-host: another enrolled host says that it has nothing of the VM',
        "of-arrived: the target's arrived entry is no disclaimer",
      ),
      tests('test/unit/protocol/source.test.ts', 'takes nothing that the target has not signed for its word'),
    ],
    queries: [
      'proverif/hand-over.pv: abort-true',
      'proverif/hand-over.pv: abort-arrival',
      'horn/exchange-queries.ts: no aborted without word of the target',
      'horn/exchange-queries.ts: aborted and disclaimer agree on target and session',
    ],
  },
  {
    row: 12,
    attack: 'Theft by a compromised hypervisor',
    dimensions: ['data confidentiality', 'access control'],
    defence:
      'A host that booted something else gets no key; the key is in libvirt for moments only and never in JavaScript',
    spec: '5.1, 6.5, 8.3',
    tests: [
      tests(platform, 'refuses a destination whose PCRs changed before the session'),
      tests(
        secrets,
        'is in no heap, journal, log, file or argument of the agents that handed it on',
        'is in no secret of libvirt once the VM runs, and cannot be read by anybody while it is',
      ),
    ],
    queries: [
      'proverif/attestation.pv: key-secret',
      'spin/suite.ts: an agent that starts takes left keys out of libvirt',
    ],
    limit:
      'Out of scope: a hypervisor that is compromised at run time without its PCRs changing reads guest memory (SPEC 13).',
  },
  {
    row: 14,
    attack: 'Injected image and unauthorized start',
    dimensions: ['access control', 'data integrity'],
    defence: 'Facts name disks, firmware and emulator; the start gate asks who holds the VM',
    spec: '7.1, 8.1, 8.2',
    tests: [
      tests(domain, 'refuses a VM with another disk', 'refuses a VM with another emulator'),
      tests(
        hooks,
        'refuses to start a VM by hand that is held elsewhere',
        'refuses root who calls it for a VM that nobody migrates',
      ),
      tests(offer, 'gives a VM to nobody who merely asks for it: libvirt has no migration under way'),
    ],
    limit:
      'The operator of an approved host may change the definition at rest; *started* records it (SPEC 8.2).',
  },
  {
    row: 14,
    attack: 'Denial of service from the network or by an enrolled host',
    dimensions: ['availability'],
    defence: 'Bounds on connections per address, sessions per peer, frames, waits',
    spec: '11',
    tests: [
      tests(
        channel,
        'makes at most so many sessions with one peer at once',
        'lets others in while one address floods the port with connections',
        'lets others in while one peer holds all the sessions that it may have',
        'takes a hello that comes byte by byte, and gives the session up when the rest does not come',
      ),
    ],
    limit: 'Who controls the network can keep VMs from moving; they run on where they are (SPEC 13).',
  },
  {
    row: 20,
    attack: 'Two swtpm on one state',
    dimensions: ['data integrity'],
    defence:
      'swtpm’s lock on the directory; operations on state at rest refuse one that is in use; shared file systems are refused',
    spec: '5.1',
    tests: [
      tests(vtpmState, 'is refused while a swtpm runs on it, which goes on unharmed'),
      tests('test/native/vtpm-manufacture.test.ts', 'is made once where two ask at a time'),
      tests(atRest, 'lets no second swtpm work on the vTPM of a VM that runs'),
    ],
  },
];
