/** Every bound of the product in one place (SPEC 11). Units are in the names. */
export const limits = {
  /** One frame between agents. */
  frameBytesMax: 4 * 1024 * 1024,
  /** A hello or evidence message. */
  helloBytesMax: 64 * 1024,
  /** Nesting of CBOR from outside. */
  cborDepthMax: 8,
  /** Items in one CBOR array or map from outside. */
  cborItemsMax: 65_536,
  proofEntriesMax: 20_000,
  /** A proof file: what 20,000 entries and their policies need. */
  proofBytesMax: 64 * 1024 * 1024,
  /** A checkpoint's summary, and what is in it. */
  summaryBytesMax: 32 * 1024,
  summaryHandoversMax: 16,
  summaryMarksMax: 64,
  /** A host that has signed no checkpoint within so many entries signs one before the VM departs. */
  checkpointEntries: 64,
  proofCertificatesMax: 4_096,
  proofPoliciesMax: 1_024,
  /** Certificates of policy signers in one proof. */
  proofSignersMax: 16,
  merkleDepthMax: 16,
  /** A connection to a peer that is idle for so long is probed, ten times a second apart. */
  keepaliveIdleMs: 15_000,
  /** An attestation of a VM (SPEC 4.3), with its policy. */
  attestationBytesMax: 2 * 1024 * 1024,
  attestationNonceBytesMin: 16,
  attestationNonceBytesMax: 64,
  /** What may be asked of the TPM for tenants, beside migrations: in the making at once, in a row, and in each minute after that. */
  attestationsAtOnceMax: 8,
  attestationsBurst: 60,
  attestationsPerMinute: 60,
  /** Earlier states of one vTPM whose digests are kept (SPEC 8.4). */
  vtpmStatesRememberedMax: 1_024,
  certificateBytesMax: 16 * 1024,
  /** Certificates whose verification is remembered. */
  certificatesRememberedMax: 1_024,
  /** Signed policies whose verification is remembered. */
  policiesRememberedMax: 8,
  /** Entries of proofs whose reading is remembered. */
  entriesRememberedMax: 2_048,
  /** One line of an enrolment; it may hold a signed policy as a JSON text. */
  enrolmentLineBytesMax: 2 * 1024 * 1024,
  /** Each wait of an enrolment: hardware TPMs take their time to make keys. */
  enrolmentStepDeadlineMs: 120_000,
  policyBytesMax: 1024 * 1024,
  /** A signed policy: base64 of the payload, and the rest of the envelope. */
  policyEnvelopeBytesMax: 1536 * 1024,
  policyStatesMax: 1_000,
  /** Other domains that a policy names (SPEC 17.1). */
  policyDomainsMax: 16,
  /** Reference values: about 140 bytes a file. */
  referenceBytesMax: 32 * 1024 * 1024,
  /** A condition of a policy over attributes. */
  expressionCharactersMax: 1_000,
  expressionDepthMax: 32,
  /** Items of one list in a rule of a policy. */
  policyRuleItemsMax: 10_000,
  /** A rescue, or the request for one: a proof, and what the lost host's journal says besides. */
  rescueBytesMax: 66 * 1024 * 1024,
  /** A tenant policy: its condition and a key. */
  tenantPolicyBytesMax: 4 * 1024,
  /** An attestation result: 20,000 stays, with attributes as hosts usually have them. */
  resultBytesMax: 16 * 1024 * 1024,
  revocationsBytesMax: 1024 * 1024,
  /** Attestation keys in a revocation list. */
  revocationsMax: 2_000,
  /** A TCG event log: real ones have about 100 KiB. */
  eventLogBytesMax: 4 * 1024 * 1024,
  /** Data of one of its events; the largest that are measured are databases of Secure Boot. */
  eventDataBytesMax: 1024 * 1024,
  eventsMax: 65_536,
  /** An IMA list: about 100 bytes an entry. */
  imaListBytesMax: 256 * 1024 * 1024,
  imaEntriesMax: 2_000_000,
  /** Template data of one entry; large ones hold what was measured itself (ima-buf). */
  imaEntryBytesMax: 1024 * 1024,
  /** Entries of an IMA list that are dealt with before other work gets its turn. */
  imaStepEntries: 1_000,
  /** A piece of a log on its way to a peer. */
  logPieceBytesMax: 256 * 1024,
  /** The end of an IMA list, in which the entry is looked for that a peer's quote covers last. */
  logTailBytesMax: 1024 * 1024,
  /** What is kept of logs that are on their way, of all sessions together. */
  logsHeldBytesMax: 64 * 1024 * 1024,
  /** Peers of whose logs it is remembered how far they were appraised: about 20 KiB each. */
  logPeersRememberedMax: 256,
  /** How often a host appraises itself (SPEC 16), as a policy may say. */
  selfAppraisalSecondsMin: 10,
  selfAppraisalSecondsMax: 86_400,
  /** Between two looks at whether it is due, and, where the IMA list grows all the time, between two appraisals. */
  selfAppraisalTickMs: 5_000,
  selfAppraisalPauseMs: 10_000,
  /** Between two attempts to attest this host to a peer that does not answer, at most. */
  attestBackOffMs: 300_000,
  /** Peers that a host attests itself to, and attestations of hosts that it hears at once. */
  attestPeersMax: 16,
  peerAttestationsAtOnceMax: 8,
  domainXmlBytesMax: 1024 * 1024,
  domainXmlDepthMax: 32,
  /** Descriptions of domains whose facts are remembered. */
  domainsRememberedMax: 64,
  hostNameBytesMax: 253,
  /** From the first hello until staged. */
  sessionDeadlineMs: 30_000,
  /** How long a use of a slow TPM waits at most for others that will want the same. */
  gatheringMs: 500,
  /** How long *arrived* waits at most for keys that libvirt waits for, at a slow TPM. */
  givingWayMs: 1_000,
  /** How long an envelope that the TPM has opened ahead stays open for those who are expected. */
  keysHeldMs: 5_000,
  /** Each wait for one message of the peer. */
  messageDeadlineMs: 15_000,
  /** From staged until the hook has to have used it. */
  permitLifeMs: 60_000,
  /** How long an appraisal stands for. */
  trustedPeerLifeMs: 60_000,
  /** Neither committed nor over. One peer's share leaves room for others, and is above `admissionsMax`. */
  sessionsPerPeerMax: 32,
  /** New ones of one peer: so many at once, so many a minute after that. Their ids are kept. */
  sessionsPerPeerBurst: 256,
  sessionsPerPeerPerMinute: 240,
  sessionsMax: 64,
  /** Handshakes and connections at the agent's port: a flood of half-open ones costs a bounded amount of memory. */
  connectionsMax: 256,
  /** Of these, what one address may have: whoever floods us from there leaves room for everybody else. */
  connectionsPerAddressMax: 64,
  /** Hooks of incoming VMs that are dealt with at once: below libvirtd's 20 workers, each of which such a hook holds. */
  admissionsMax: 12,
  /** Moves that one source begins at once: they find a hook of the target each, and leave some to others. */
  startsMax: 8,
  /** How long a peer may take to answer before an administrator resolves without it. */
  resolutionWaitMs: 10_000,
  /** What is kept of the steps of one session, for the operator. */
  sessionStepsMax: 200,
  sessionIdMemoryMs: 7 * 24 * 3600 * 1000,
  /** A row of the ledger: hashes and names. */
  ledgerRowBytesMax: 2 * 1024,
  /** What the ledger has to answer in, whichever of its members does. */
  ledgerDeadlineMs: 5_000,
  /** Before the next member is asked. */
  ledgerAttemptMs: 1_500,
  /** What no word and no effect waits for is behind the TPM's counter at most this long: bounds the wear of its NV memory. */
  anchorDelayMs: 15 * 60_000,
  hookFrameBytesMax: 4 * 1024 * 1024,
  migrateHookDeadlineMs: 55_000,
  prepareHookDeadlineMs: 25_000,
} as const;
