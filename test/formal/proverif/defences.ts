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
    in: { attestation: [] },
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
    in: { attestation: [] },
  },
  {
    name: 'tls-certificates',
    sections: ['6.2'],
    says: 'Both quotes cover both TLS certificates, which the exporter does not (the client one).',
    in: { attestation: [] },
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
    in: { attestation: [] },
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
    in: { attestation: [] },
  },
  {
    name: 'seal-policy',
    sections: ['5.2'],
    says: 'The TPM uses the receive key only in a state that the policy key has approved.',
    in: { attestation: [] },
  },
];
