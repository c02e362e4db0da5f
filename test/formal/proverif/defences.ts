/** Every defence of SPEC.md, and what becomes of the protocol without it: the one list that the models' switches are held against. */

/** One defence of the protocol, by the name that SPEC.md uses for it where it has one. */
export interface Defence {
  readonly name: string;
  /** Sections of SPEC.md. */
  readonly sections: readonly string[];
  readonly says: string;
  /**
   * The models that can do without it. An empty list: the model breaks without it. Otherwise the defences that back it: without those
   * the model keeps a query that it loses when this one goes too.
   */
  readonly in: Readonly<Record<string, readonly string[]>>;
  /** For a defence that no model can do without: why not. */
  readonly outside?: string;
}

export const defences: readonly Defence[] = [
  {
    name: 'nonce',
    sections: ['6', '6.2'],
    says: 'Each hello has 32 fresh random bytes, which both quotes cover.',
    in: { attestation: ['exporter'] },
  },
  {
    name: 'session',
    sections: ['6', '6.1'],
    says: 'Every message carries the session, and both hellos have the same.',
    in: { attestation: [] },
  },
  {
    name: 'vm',
    sections: ['6', '6.1'],
    says: 'Both hellos speak of the same VM.',
    in: { attestation: [] },
  },
  {
    name: 'other-host',
    sections: ['6.1', '6.5'],
    says: 'A host takes no part in a session with itself.',
    in: { attestation: [], role: ['role', 'transcript-2'] },
  },
  {
    name: 'ak-certificate',
    sections: ['1.1', '6.5'],
    says: 'The AK certificate is one of the authority.',
    in: { attestation: [] },
  },
  {
    name: 'certificate-usage',
    sections: ['1.1'],
    says: 'A certificate has the usage of its kind: one of a TLS key is none of an AK.',
    in: { attestation: [] },
  },
  {
    name: 'certified-name',
    sections: ['1.1', '6.5'],
    says: 'The host name of the hello is that of the AK certificate.',
    in: { attestation: [] },
  },
  {
    name: 'ak-public',
    sections: ['6.5'],
    says: 'The AK of the hello is that of the AK certificate.',
    in: { attestation: [] },
  },
  {
    name: 'receive-key',
    sections: ['1.1', '6.5'],
    says: 'The receive key of the hello is that of the AK certificate.',
    in: { attestation: [] },
  },
  {
    name: 'exporter',
    sections: ['6.2'],
    says: 'Both quotes cover the exporter of the TLS connection.',
    in: { attestation: [], channel: [] },
  },
  {
    name: 'tls-certificates',
    sections: ['6.2'],
    says: 'Both quotes cover both TLS certificates, which the exporter does not (the client one).',
    in: { attestation: [], channel: ['exporter', 'peer-name'] },
  },
  {
    name: 'transcript',
    sections: ['6.2'],
    says: 'Both quotes cover all of both hellos.',
    in: { attestation: [] },
  },
  {
    name: 'transcript-2',
    sections: ['6.2'],
    says: "The source's quote covers the target's evidence.",
    in: { attestation: [], role: ['role', 'other-host'] },
  },
  {
    name: 'quote-signature',
    sections: ['6.5'],
    says: "The evidence is signed by the peer's AK.",
    in: { attestation: [] },
  },
  {
    name: 'quote-type',
    sections: ['6.5'],
    says: 'What the AK signed begins with TPM_GENERATED_VALUE and is a quote.',
    in: { attestation: [] },
  },
  {
    name: 'quote-binding',
    sections: ['6.3', '6.4', '6.5'],
    says: "The quote's qualifying data is the statement of this session.",
    in: { attestation: [] },
  },
  {
    name: 'pcr-selection',
    sections: ['6.5'],
    says: 'The quote covers the PCRs that the policy selects.',
    in: { attestation: [] },
  },
  {
    name: 'pcr-state',
    sections: ['6.5', '10'],
    says: 'The quoted state is one that our own policy approves.',
    in: { attestation: [] },
  },
  {
    name: 'policy-version',
    sections: ['6.5'],
    says: "The peer's policy is not below what the VM's proof requires.",
    in: { attestation: [] },
  },
  {
    name: 'policy-order',
    sections: ['4', '6.7'],
    says: "No entry is made or accepted under a policy below the VM's: a host whose policy was rolled back cannot hand it over.",
    in: { attestation: [] },
  },
  {
    name: 'sealing',
    sections: ['5.3'],
    says: 'The vTPM key is sealed to the receive key of the target.',
    in: { attestation: [], state: [] },
  },
  {
    name: 'seal-policy',
    sections: ['5.2'],
    says: 'The TPM uses the receive key only in a state that the policy key has approved.',
    in: { attestation: [], state: [] },
  },
  {
    name: 'revocation',
    sections: ['1.3', '6.5'],
    says: "The peer's AK is not in the revocation list.",
    in: { attestation: [] },
  },
  {
    name: 'peer-name',
    sections: ['6.5'],
    says: 'TLS certificate, hello and AK certificate name one host.',
    in: { channel: ['exporter', 'tls-certificates'] },
  },
  {
    name: 'state-at-rest',
    sections: ['5.1'],
    says: "swtpm encrypts the vTPM's state on the disk under the passphrase.",
    in: { state: [] },
  },
  {
    name: 'state-in-stream',
    sections: ['5.1'],
    says: "swtpm encrypts the vTPM's state in the migration stream under the passphrase.",
    in: { state: [] },
  },
  {
    name: 'tls-destination',
    sections: ['13'],
    says: 'tvmmp migrate has QEMU believe the certificate of the attested host alone.',
    in: { state: [] },
  },
  {
    name: 'stream-tls',
    sections: ['6.6'],
    says: "libvirt's migration stream goes through TLS.",
    in: { state: [] },
  },
  {
    name: 'key-context',
    sections: ['5.3'],
    says: 'VM, epoch, session and recipient are associated data of the sealed key.',
    in: { channel: [] },
  },
  {
    name: 'record-layer',
    sections: ['6'],
    says: 'All messages travel in TLS records.',
    in: { channel: [] },
  },
  {
    name: 'ephemeral-shares',
    sections: ['6'],
    says: 'TLS 1.3 agrees on keys by fresh shares.',
    in: { channel: [] },
  },
  {
    name: 'bundle',
    sections: ['1.2'],
    says: 'The host knows root and policy signer beforehand, from the bundle that its operator gave it.',
    in: { enrolment: [] },
  },
  {
    name: 'own-keys',
    sections: ['1.2'],
    says: 'The host takes certificates for its own keys alone.',
    in: { enrolment: [] },
  },
  {
    name: 'one-name',
    sections: ['1.2'],
    says: 'All certificates of a host name one host.',
    in: { enrolment: [] },
  },
  {
    name: 'ek-certificate',
    sections: ['1.2'],
    says: 'The EK certificate chains to a root of a manufacturer that the operator believes.',
    in: { enrolment: [] },
  },
  {
    name: 'ek-public',
    sections: ['1.2'],
    says: "The key of the EK certificate is the EK's.",
    in: { enrolment: [] },
  },
  {
    name: 'ak-template',
    sections: ['1.2'],
    says: 'The AK is a restricted signing key that cannot leave its TPM.',
    in: { enrolment: [] },
  },
  {
    name: 'receive-template',
    sections: ['1.2', '5.2'],
    says: "The receive key can be used only in states that this authority's policy key approves.",
    in: { enrolment: [] },
  },
  {
    name: 'certification',
    sections: ['1.2'],
    says: 'The AK certifies the receive key.',
    in: { enrolment: [] },
  },
  {
    name: 'certified-receive-key',
    sections: ['1.2'],
    says: 'What the AK certifies is the receive key of the request.',
    in: { enrolment: [] },
  },
  {
    name: 'enrolment-binding',
    sections: ['1.2'],
    says: "The AK's certification speaks for EK, AK and the TLS keys of the request.",
    in: { enrolment: [] },
  },
  {
    name: 'credential-activation',
    sections: ['1.2'],
    says: 'The authority sends a secret that the TPM of the EK alone can read.',
    in: { enrolment: [] },
  },
  {
    name: 'ek-ak-binding',
    sections: ['1.2'],
    says: 'The TPM gives that secret out only where it holds the AK.',
    in: { enrolment: [] },
  },
  {
    name: 'hidden-key',
    sections: ['4.2'],
    says: 'No AK and no certificate is in a proof without names.',
    in: { privacy: [] },
  },
  {
    name: 'hidden-quote',
    sections: ['4.2'],
    says: 'No quote is in a proof without names.',
    in: { privacy: [] },
  },
  {
    name: 'fresh-pseudonym',
    sections: ['4.2'],
    says: 'Pseudonyms are random, and fresh in each statement.',
    in: { privacy: [] },
  },
  {
    name: 'salted-commitment',
    sections: ['4.2'],
    says: 'The hash of an entry is committed to with a random salt.',
    in: { privacy: [] },
  },
  {
    name: 'quoted-hello',
    sections: ['6.2', '10.1'],
    says: 'The versions that a host tells are in its hello, which its quote covers.',
    in: { rules: [] },
  },
  {
    name: 'certified-attributes',
    sections: ['1.1', '10.1'],
    says: 'Attributes are those of the AK certificate, by the authority.',
    in: { rules: [] },
  },
  {
    name: 'version-rule',
    sections: ['10.1'],
    says: 'Versions are not below those that the policy asks for.',
    in: { rules: [] },
  },
  {
    name: 'from-birth',
    sections: ['4.1', '10.1'],
    says: 'Where the policy asks for attributes of every holder, a proof is taken from birth only.',
    in: { rules: [] },
  },
  {
    name: 'every-holder',
    sections: ['10.1'],
    says: 'Every holder that the proof names has the attributes that the policy asks for.',
    in: { rules: [] },
  },
  {
    name: 'session-replay',
    sections: ['6.1'],
    says: 'A host refuses a session id that it has seen.',
    in: { 'hand-over': [] },
  },
  {
    name: 'one-enrolment',
    sections: ['1.2'],
    says: 'A name is enrolled once.',
    in: {},
    outside:
      'It is what a name means to people. In the exchange every statement that counts is signed by an AK, and entries name the AK beside the host: no query rests on a name alone.',
  },
  {
    name: 'holder',
    sections: ['2', '4'],
    says: 'The arrival is signed by the host that departing named, and the departure by the old holder.',
    in: { 'hand-over': [] },
  },
  {
    name: 'entry-certificate',
    sections: ['4'],
    says: 'The signer of an entry has an AK certificate of the authority.',
    in: { 'hand-over': [] },
  },
  {
    name: 'entry-signature',
    sections: ['4'],
    says: "An entry is signed by its host's AK.",
    in: { 'hand-over': [] },
  },
  {
    name: 'entry-quote-type',
    sections: ['4'],
    says: 'What signs an entry begins with TPM_GENERATED_VALUE and is a quote.',
    in: { 'hand-over': [] },
  },
  {
    name: 'entry-binding',
    sections: ['4'],
    says: "The quote's qualifying data is the entry's hash.",
    in: {},
    outside:
      'The same function as quote-binding, which attestation.pv breaks without; without it every quote signs every entry, and the prover does not end.',
  },
  {
    name: 'entry-state',
    sections: ['4'],
    says: 'The quote that signs an entry shows an approved state.',
    in: { 'hand-over': [] },
  },
  {
    name: 'completion-tag',
    sections: ['2', '4'],
    says: 'The kind of an entry says which step of a hand-over it is.',
    in: { 'hand-over': [] },
  },
  {
    name: 'entry-vm',
    sections: ['4', '6.7'],
    says: 'All entries of a chain are of one VM, which is that of the session.',
    in: { 'hand-over': [] },
  },
  {
    name: 'epoch',
    sections: ['2', '4'],
    says: 'An arrival opens the next epoch, and a departure closes the one before.',
    in: { 'hand-over': [] },
  },
  {
    name: 'previous',
    sections: ['2', '4'],
    says: 'An entry has the hash of the entry before.',
    in: { 'hand-over': [] },
  },
  {
    name: 'entry-session',
    sections: ['4', '6.7'],
    says: 'The entries of a hand-over have the session that it was agreed in.',
    in: { 'hand-over': [] },
  },
  {
    name: 'entry-facts',
    sections: ['4'],
    says: 'Definition and vTPM are the same within a hand-over.',
    in: { 'hand-over': [] },
  },
  {
    name: 'destruction',
    sections: ['6.8'],
    says: 'The source signs departed when its copy is destroyed.',
    in: { 'hand-over': [] },
  },
  {
    name: 'session-peer',
    sections: ['6.1'],
    says: 'A later message of a session comes from the host that the session is with.',
    in: {},
    outside:
      'It keeps strangers from using the time of an agent. What a later message may end is signed by the host that the session is with (disclaimer-signature, holder), and TLS keys are the adversary here.',
  },
  {
    name: 'disclaimer-signature',
    sections: ['6.8', '6.10'],
    says: "The target's word that it will not run the VM is signed by its AK.",
    in: { 'hand-over': [] },
  },
  {
    name: 'disclaimer-label',
    sections: ['6.10'],
    says: 'A disclaimer has a label of its own: no entry passes for one.',
    in: { 'hand-over': [] },
  },
  {
    name: 'message-session',
    sections: ['6.1', '6.10'],
    says: 'A later message speaks of its session, and a disclaimer covers it.',
    in: { 'hand-over': [] },
  },
  {
    name: 'offer-signer',
    sections: ['6.7'],
    says: 'The source is the signer of departing.',
    in: { 'hand-over': [] },
  },
  {
    name: 'offer-recipient',
    sections: ['6.7'],
    says: 'Departing is to this host.',
    in: { 'hand-over': [] },
  },
  {
    name: 'labels',
    sections: ['3'],
    says: 'Every hash that is signed has a label of its own.',
    in: { 'hand-over': [] },
  },
  {
    name: 'certification-type',
    sections: ['1.2'],
    says: 'What the AK signed is a TPM2_Certify of the receive key.',
    in: {},
    outside:
      'The same parser and the same check as quote-type, which attestation.pv breaks without; the prover does not end on enrolment.pv without it.',
  },
  {
    name: 'tls-possession',
    sections: ['1.2'],
    says: 'The requests of the TLS keys are signed by these keys.',
    in: {},
    outside:
      'A PKCS 10 request can be copied, so its signature proves possession at some time and no more. Nothing rests on it: TLS signs its transcript, and both quotes cover both TLS certificates.',
  },
  {
    name: 'role',
    sections: ['6.3', '6.4'],
    says: "The statement has the speaker's role.",
    in: { role: ['transcript-2', 'other-host'] },
  },
  {
    name: 'hello-role',
    sections: ['6.1'],
    says: "The peer's hello has the other role.",
    in: {},
    outside:
      "The hellos stand in the transcript in the order of their roles, so that two hosts of one role make two transcripts and neither accepts the other's evidence.",
  },
  {
    name: 'known-head',
    sections: ['4'],
    says: 'A host compares a proof with the one that it verified before.',
    in: {},
    outside:
      'It compares two times of one host, and ProVerif has no order of time within a host; the models of hand-over under faults have it.',
  },
  {
    name: 'policy-rollback',
    sections: ['10'],
    says: 'A host refuses a policy with a version below the one it has.',
    in: {},
    outside:
      'The adversary of attestation.pv rolls policies back as it likes; policy-order holds against that without it.',
  },
  {
    name: 'policy-signature',
    sections: ['10'],
    says: 'A policy and the approvals in it are signed by the policy key.',
    in: {},
    outside:
      'The models have one policy per version, which everybody reads as the authority wrote it; forging it is forging a signature, which no model can do without.',
  },
  {
    name: 'pcr-values',
    sections: ['6.5'],
    says: 'The PCR values told beside a quote digest to what it says.',
    in: {},
    outside: 'They are shown to the operator; the decision rests on the quoted digest (pcr-state).',
  },
  {
    name: 'expiry',
    sections: ['6.5', '11'],
    says: 'An appraisal, a permit and a session end after some time.',
    in: {},
    outside:
      'ProVerif has no clock: an adversary that can wait is the stronger one, and no query needs time.',
  },
  {
    name: 'holder-state',
    sections: ['2', '6.6'],
    says: 'The journal says whether this host is the holder, and in which state.',
    in: {},
    outside:
      'Who may hold what after a crash is a matter of stores that forget and messages that are lost: the models of the hand-over under faults. Here a source may claim any epoch.',
  },
];
