/** Rows 13, 15 to 19 and 21 to 24: inputs of the control plane, platforms and keys, malformed and old things, crashes. */
import { tests } from './attack.ts';
import type { Attack } from './attack.ts';

const channel = 'test/attacks/channel.test.ts';
const domain = 'test/attacks/domain.test.ts';
const enrolment = 'test/unit/authority/enrolment.test.ts';
const evidence = 'test/attacks/evidence.test.ts';
const hooks = 'test/attacks/hooks.test.ts';
const offer = 'test/attacks/offer.test.ts';
const recovery = 'test/system/recovery.test.ts';
const vectors = 'test/vectors/proof.test.ts';

export const control: readonly Attack[] = [
  {
    row: 13,
    attack: 'Malicious VM: a definition or a name that attacks what reads it',
    dimensions: ['availability', 'data integrity'],
    defence:
      'XML without document types and entities, bounded; nothing that a guest or tenant words reaches a shell, a terminal or a path',
    spec: '7, 11',
    tests: [
      tests(
        hooks,
        'refuses a definition with a document type whose entities explode, and serves on',
        'refuses a definition with two roots, and serves on',
        'refuses a definition with more than a MiB, and serves on',
        'refuses a definition with a name that writes to terminals, and serves on',
      ),
      tests('test/unit/libvirt/facts.test.ts', 'a document type', 'an entity that XML does not know'),
      tests(
        'test/native/hook-client.test.ts',
        'takes a VM called like an option for a VM',
        'refuses an XML of more than 4 MiB, reading it to its end',
      ),
      tests('test/unit/cli/agent-commands.test.ts', 'shows control characters of names as question marks'),
    ],
    limit:
      'Out of scope: a guest that breaks out of QEMU is a compromised host; one that never stops writing memory keeps itself from moving.',
  },
  {
    row: 15,
    attack: 'Control plane: forged hook input, another user’s CLI, hooks while the agent is away',
    dimensions: ['access control'],
    defence:
      'Sockets of root with SO_PEERCRED; the hook client fails closed; the session asks libvirt, not the caller',
    spec: '6.6, 8.1',
    tests: [
      tests(
        hooks,
        'does not reach the agent for another user: its sockets are root’s',
        'refuses another user even where somebody opened the sockets to all',
        'refuses root who calls it for a VM that nobody migrates',
        'refuses while the agent hangs',
        'refuses while the agent is down',
      ),
      tests(
        'test/native/hook-client.test.ts',
        'refuses when the agent answers rubbish, too much or nothing',
        'refuses when a dead agent has left its socket behind',
      ),
      tests(
        domain,
        'refuses a VM with no agent named in its metadata',
        'refuses a VM with the destination’s own agent named in its metadata',
        'refuses a VM with nobody listening where its metadata points',
      ),
    ],
  },
  {
    row: 15,
    attack: 'Probing: a peer or a stranger asks in order to learn why a host refuses, or what it holds',
    dimensions: ['privacy'],
    defence:
      'Strangers hear nothing; a peer hears that it is refused and at most a hint at what its own user typed',
    spec: '6, 9',
    tests: [
      tests(evidence, 'tells a destination that it does not trust no more than that it refuses'),
      tests(
        channel,
        'drops a client without a certificate',
        'drops the migration certificate of an enrolled host',
      ),
    ],
    limit:
      'Hosts and policies are named in clear to peers of the same authority and in proofs; who migrates what to where can be seen on the network (SPEC 13).',
  },
  {
    row: 16,
    attack: 'Abort and reset in post-copy: memory that cannot be recovered',
    dimensions: ['availability', 'data integrity'],
    defence: 'Post-copy, offline and unsafe migrations of a protected VM are refused',
    spec: '6.6',
    tests: [
      tests(
        domain,
        'refuses a migration with --postcopy',
        'refuses a migration with --unsafe',
        'refuses a migration with --offline',
      ),
    ],
  },
  {
    row: 17,
    attack: 'Platform confusion: keys, certificates and quotes of different platforms are combined',
    dimensions: ['authentication'],
    defence:
      'EK certificate, EK, AK, receive key and TLS keys are bound at enrolment; all parts of a session name one host',
    spec: '1.2, 6.5',
    tests: [
      tests(
        evidence,
        'refuses the AK certificate of beta with a quote of mallory',
        'refuses another AK than the certified one',
        'refuses an attestation of another kind that the same AK signed',
      ),
      tests(
        enrolment,
        'an EK certificate of a manufacturer that the operator did not name is refused',
        'another EK than that of the certificate is refused',
        'a certification for another key, another EK or other TLS keys, or a quote, is refused',
      ),
    ],
    queries: ['proverif/attestation.pv: released-to-certified', 'proverif/enrolment.pv: same-tpm'],
  },
  {
    row: 18,
    attack: 'One extracted endorsement key poses as a destination',
    dimensions: ['authentication', 'access control'],
    defence:
      'A TPM and a name are enrolled once, a second time only by the operator’s word; a revoked key is neither certified, nor a peer, nor believed',
    spec: '1.2, 1.3, 6.5',
    tests: [
      tests(
        enrolment,
        'a second enrolment of a name, or of a TPM, is refused unless the operator replaces the first',
      ),
      tests(
        'test/attacks/revocation.test.ts',
        'receives nothing: its evidence is good, and it is refused for what it is',
        'sends nothing',
        'is refused by a host that never got the list from its operator, once that has met one that did',
        'does not talk itself out of it by a list of its own making',
        'is let in neither by an old list nor after a restart',
      ),
      tests(
        'test/unit/authority/authority.test.ts',
        'records one enrolment for each name and each TPM, even where the check at the request was passed',
        'revokes every key that a name ever had, in lists of rising versions, and takes it back',
      ),
      tests(
        'test/unit/appraisal/appraise.test.ts',
        'fails revocation for a host whose key the list names, and for no other',
        'fails revocation where the peer announces a newer list than there is here',
      ),
      tests(
        'test/unit/proof/revocation.test.ts',
        'do not go together where a revoked key signed at that time or later',
      ),
    ],
    queries: [
      'spin/revocation.ts: no host accepts one that either knows to be revoked',
      'spin/revocation.ts: no host takes a list that is older than one it had',
    ],
    limit:
      'Whoever has a manufacturer’s genuine EK in software can enrol it, if the operator agrees to the name; a revoked host is believed by peers that have not heard of the list yet (SPEC 13).',
  },
  {
    row: 19,
    attack: 'Trust in the old host outlives the move',
    dimensions: ['access control', 'non-repudiation'],
    defence:
      'Only the holder signs in its epoch; the old one has neither key nor state, and has signed that it destroyed them',
    spec: '2, 4, 8.3',
    tests: [
      tests(
        'test/attacks/copies.test.ts',
        'gives the old host no say once the VM has moved',
        'refuses to start what was left behind at the old host',
      ),
      tests(
        vectors,
        'holder-returns: the old holder goes on after its successor arrived: a copy that was not destroyed',
        'holder-other-host: an enrolled host in an approved state speaks for a VM that it does not hold',
        'good-departed-missing: the old holder may never be heard of again; the proof holds and says that its destruction was not stated',
      ),
    ],
    queries: [
      'horn/exchange-queries.ts: no end without the destruction',
      'horn/chain-attacks.ts: no entry is accepted of a host that does not hold the VM',
    ],
  },
  {
    row: 21,
    attack: 'Malformed policy, certificate, evidence or message',
    dimensions: ['availability', 'data integrity'],
    defence:
      'Deterministic CBOR and nothing else; sizes first; one place that indexes bytes; X.509 and XML by strict readers',
    spec: '3, 10, 11',
    tests: [
      tests(
        channel,
        'ends the connection at a frame longer than any message',
        'ends the connection at an empty frame',
        'ends the connection at a frame that is not CBOR',
        'ends the connection at a message of unknown kind',
        'ends the connection at a hello with a byte too much',
        'ends the connection at a hello cut short',
        'ends the connection at a message of a session that nobody has',
      ),
      tests(
        'test/property/proof.test.ts',
        'any one bit changed is refused, or changes nothing that was verified',
        'cut short at any byte, it is refused as an encoding',
        'never throws, whatever the bytes',
      ),
      tests('test/property/encoding.test.ts', 'accepts no bytes but those that it would write'),
      tests(
        'test/unit/certificates/certificates.test.ts',
        'every changed bit of a certificate is refused',
        'trailing, missing and oversize bytes, PEM in place of DER, and garbage are refused',
      ),
      tests(
        'test/unit/appraisal/policy.test.ts',
        'unknown members, wrong lengths and forms are refused, though the policy key signed them',
      ),
    ],
  },
  {
    row: 22,
    attack: 'AK substituted inside state (as CVE-2025-49707)',
    dimensions: ['authentication'],
    defence:
      'The public area in the hello must be the certified one, and the quote verify under the certified key',
    spec: '6.5',
    tests: [
      tests('test/attacks/insider.test.ts', 'does not serve with the certificate of another host’s AK'),
      tests(
        evidence,
        'refuses another AK than the certified one',
        'refuses a receive key that is not the certified one',
      ),
    ],
    queries: ['proverif/attestation.pv: released-to-certified'],
  },
  {
    row: 22,
    attack: 'A second enrolment under a known identity (as CVE-2025-13609)',
    dimensions: ['authentication'],
    defence: 'The register takes each name and each EK once',
    spec: '1.2',
    tests: [
      tests(
        enrolment,
        'a second enrolment of a name, or of a TPM, is refused unless the operator replaces the first',
      ),
    ],
  },
  {
    row: 22,
    attack: 'The challenge of an enrolment is bypassed (as CVE-2023-38201)',
    dimensions: ['authentication'],
    defence: 'No certificate without the whole credential, in the one turn in which it is due',
    spec: '1.2',
    tests: [
      tests(
        enrolment,
        'an answer of another length, or to another challenge, is refused',
        'messages out of turn are refused',
      ),
    ],
    queries: [
      'proverif/enrolment.pv: same-tpm',
      'horn/enrolment.ts: no certificate for an attestation key outside a TPM',
    ],
  },
  {
    row: 22,
    attack: 'A bad signature is silenced by another failure (as CVE-2023-3674)',
    dimensions: ['authentication', 'data integrity'],
    defence: 'Every check has to be there and to pass; what could not be looked at counts as failed',
    spec: '6.5, 9',
    tests: [
      tests(evidence, 'refuses a quote signed by a key in software'),
      tests(
        'test/unit/appraisal/appraise.test.ts',
        'fails quote-signature for a quote of another TPM',
        'lists all failures at once, the first one first in the reason',
      ),
    ],
    queries: ['proverif/attestation.pv: quote-signature'],
  },
  {
    row: 22,
    attack: 'Handshakes that never end block the port (as CVE-2023-38200)',
    dimensions: ['availability'],
    defence: 'Each handshake stands for itself, has a deadline, and counts against its address',
    spec: '11',
    tests: [tests(channel, 'lets others in while one address floods the port with connections')],
  },
  {
    row: 23,
    attack: 'Downgrade of the protocol',
    dimensions: ['communication security'],
    defence: 'TLS 1.3 alone; one protocol version, and the hello that states it is under the quote',
    spec: '6, 6.2',
    tests: [
      tests(
        channel,
        'does not speak TLS 1.2',
        'ends the connection at a hello of another version of the protocol',
      ),
      tests('test/unit/protocol/codec.test.ts', 'refuses unknown kinds, other versions and wrong shapes'),
    ],
  },
  {
    row: 23,
    attack: 'Downgrade of the policy',
    dimensions: ['access control', 'data integrity'],
    defence: 'Version and content are compared on install, in each appraisal and along the chain',
    spec: '4, 6.5, 10',
    tests: [
      tests(hooks, 'refuses a policy that is older than the one in force'),
      tests(
        evidence,
        'refuses a policy that is older than the one the VM’s proof requires',
        'refuses a policy of another content under the same version',
      ),
      tests(offer, 'refuses a source whose policy is older than its VM’s proof requires'),
      tests(vectors, 'policy-order-rollback: an old version, whose states were withdrawn since'),
    ],
    queries: [
      'proverif/attestation.pv: policy-coherent',
      'horn/exchange-queries.ts: no staging under an older policy',
    ],
  },
  {
    row: 23,
    attack: 'Downgrade of a component: an old QEMU, swtpm or agent on an approved host',
    dimensions: ['access control'],
    defence: 'What was booted is measured; versions that a hello tells are for the operator’s eyes',
    spec: '6, 13',
    tests: [],
    queries: ['proverif/rules.pv: versions'],
    limit:
      'Not defended in version 1: no minimum version of a component is enforced; PCRs 0-7 do not measure programs of the running system (SPEC 13).',
  },
  {
    row: 24,
    attack: 'Crash of any process, of a host or of the network, at any phase',
    dimensions: ['availability', 'data integrity'],
    defence:
      'Durable before told; nobody discards alone once staged; libvirt’s outcome decides; both sides take up what the journal holds',
    spec: '6.8',
    tests: [
      tests(
        recovery,
        "ends at the destination when the source's agent is killed while memory travels, and started again",
        "ends at the destination when the destination's agent is killed while memory travels, and started again",
        "ends at the destination when the source's agent is dead until libvirt has finished",
        "ends at the destination when the destination's agent is dead until libvirt has finished",
        'ends at the destination when both agents are dead until libvirt has finished',
        'refuses when the destination’s agent is killed before it has answered the hook',
        'stays when its user cancels while both agents are dead',
        'stays when the network is cut off while memory travels',
        "stays when the source's libvirtd is killed while memory travels",
        "stays when the destination's libvirtd is killed while memory travels",
        'stays when the destination loses its power while memory travels',
      ),
    ],
    queries: [
      'spin/suite.ts: two runnable',
      'spin/suite.ts: current lost',
      'spin/suite.ts: stuck',
      'spin/suite.ts: endless run',
    ],
  },
];
