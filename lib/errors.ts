/**
 * The closed set of error codes. A code is stable: scripts and operators may rely on it (SPEC 12).
 * Codes are grouped by area; a refusal (a decision) is a value, never one of these (SPEC 9).
 */
export type ErrorCode =
  // agent and configuration
  | 'agent-unreachable'
  | 'config-invalid'
  | 'not-enrolled'
  | 'usage-invalid'
  // bytes and encodings
  | 'encoding-invalid'
  | 'limit-exceeded'
  // certificates, policy and enrolment
  | 'certificate-invalid'
  | 'policy-invalid'
  | 'enrolment-refused'
  | 'authority-invalid'
  | 'rescue-refused'
  // event logs and IMA lists
  | 'event-log-invalid'
  | 'ima-list-invalid'
  // libvirt
  | 'libvirt-call-failed'
  | 'libvirt-connection-lost'
  | 'domain-not-found'
  | 'domain-xml-invalid'
  // TPM
  | 'tpm-call-failed'
  | 'tpm-unreachable'
  | 'tpm-not-provisioned'
  | 'tpm-structure-invalid'
  // vTPM key and state (native bridge)
  | 'native-missing'
  | 'seal-invalid'
  | 'seal-refused'
  | 'vtpm-busy'
  | 'vtpm-convert-failed'
  | 'vtpm-manufacture-failed'
  | 'vtpm-read-failed'
  // worker threads
  | 'worker-failed'
  // peers
  | 'peer-timeout'
  | 'peer-unreachable'
  | 'peer-untrusted'
  | 'session-replayed'
  // ledger
  | 'journal-failed'
  | 'journal-rolled-back'
  | 'ledger-conflict'
  | 'ledger-invalid'
  | 'ledger-unavailable'
  // virtual machines
  | 'destruction-incomplete'
  | 'hand-over-conflict'
  | 'vm-protected'
  | 'vm-unknown'
  | 'vm-unsuitable'
  | 'vtpm-exchanged'
  | 'vtpm-state-changed'
  // internal
  | 'internal';

/** An operational fault: something that could not be done, with a stable code and a cause. */
export class TvmmpError extends Error {
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; details?: Record<string, unknown> } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'TvmmpError';
    this.code = code;
    this.details = options.details ?? {};
  }
}
