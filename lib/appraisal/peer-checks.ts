/** The checks of SPEC 6.5 on one peer, each a function of its own; appraise.ts runs them all and draws the conclusion. */
import { bytesEqual } from '../bytes/compare.ts';
import { verifyHostCertificate } from '../certificates/host-certificate.ts';
import type { HostCertificate } from '../certificates/host-certificate.ts';
import type { RootCertificate } from '../certificates/root-certificate.ts';
import { hex } from '../encoding/hex.ts';
import { TvmmpError } from '../errors.ts';
import type { Claim } from '../evidence/claim.ts';
import { leafHash } from '../evidence/merkle.ts';
import type { Role } from '../evidence/statement.ts';
import type { PolicyId } from '../evidence/identity.ts';
import type { QuoteAttest } from '../tpm/attest.ts';
import { hasAttributes, keyObjectOf, nameOf, parsePublicArea } from '../tpm/public-area.ts';
import { matchesTemplate, receiveKeyTemplate } from '../tpm/templates.ts';
import { check, skipped } from './check.ts';
import { attributesSeen, domainOf } from './domains.ts';
import type { Domain } from './domains.ts';
import { bootChecks, fileChecks } from './evidence-verdict.ts';
import type { LogFindings } from './log-evidence.ts';
import { asksForLogs, evidenceSelection, logCheck } from './peer-log-checks.ts';
import { explainPcrs } from './pcr-explanation.ts';
import { ruleChecks } from './host-rules.ts';
import type { HostRuleMember } from './host-rules.ts';
import { receivePolicyOf } from './policy.ts';
import type { Policy, PolicyState } from './policy.ts';
import { revocation } from './revocation-check.ts';
import type { RevocationList } from './revocation.ts';
import { approvedState, boundTo, quoteOf, selectionText, selects, signedBy, tellsTrue } from './quote.ts';
import type { Check } from './verdict.ts';

/** Everything that an appraisal looks at. The peer's parts are UNTRUSTED; all others are this host's own. */
export interface AppraisalInput {
  /** Role of the peer. */
  readonly role: Role;
  readonly vm: string;
  readonly session: Uint8Array;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly root: RootCertificate;
  /** Digest of the root that the peer's TLS certificate chains to; absent where that is ours. */
  readonly peerRoot?: Uint8Array;
  readonly ownPolicy: Policy;
  /** The revocation list of the peer's authority; null where this host has none yet. */
  readonly revocations: RevocationList | null;
  /** This host's name: a peer must be another. */
  readonly selfName: string;
  /** Lowest policy version that the VM's proof allows (SPEC 6.5). */
  readonly requiredPolicyVersion: number;
  /** Host name in the certificate that the TLS connection was authenticated with. */
  readonly tlsPeerName: string;
  /** What the peer's quote must state: `evidenceStatement` over our own view of the transcript. */
  readonly statement: Uint8Array;
  /** From the peer's hello. */
  readonly hello: {
    readonly host: string;
    readonly akCertificate: Uint8Array;
    readonly akPublic: Uint8Array;
    readonly receivePublic: Uint8Array;
    readonly policy: PolicyId;
    readonly versions: ReadonlyMap<string, string>;
  };
  readonly claim: Claim;
  /** What its logs said, held against its quote; null where our policy asks for none. */
  readonly logs: LogFindings | null;
  /** Whether the proof of the VM says that the source is quarantined (SPEC 16.3). */
  readonly quarantined?: boolean;
}

/** What the checks established, as far as they came. */
export interface Findings {
  readonly checks: readonly Check[];
  readonly certificate?: HostCertificate;
  readonly state?: PolicyState;
}

/** Runs every check; what cannot be looked at because of an earlier failure fails too. */
export function checkPeer(input: AppraisalInput): Findings {
  const domain = foreignDomain(input);
  const root = domain === null ? input.root : domain.named?.root;
  const certificate = attempt(() =>
    root === undefined
      ? undefined
      : verifyHostCertificate(input.hello.akCertificate, root, new Date(input.now)),
  );
  const host = certificate.value;
  const parsed = quoteOf(input.claim.attest);
  const signed = host !== undefined && signedBy(host.publicKey, input.claim.attest, input.claim.signature);
  const quote = signed && parsed.type === 'quote' ? parsed : undefined;
  const state = quote === undefined ? undefined : stateOf(input, quote);
  const because = host === undefined ? 'ak-certificate' : signed ? 'quote-type' : 'quote-signature';
  const ofLogs = (name: Parameters<typeof logCheck>[0]): Check =>
    logCheck(name, input.ownPolicy, quote, input.logs, because);
  const checks = [
    ...(domain === null ? [] : [domainNamed(input, domain.named)]),
    peerName(input, host),
    check('ak-certificate', host !== undefined, {
      expected: `an AK certificate of ${domain === null ? 'this' : 'its'} authority that is valid now`,
      found: certificate.error ?? `that of ${host?.name ?? 'an authority that nobody named'}`,
      remedy: 'enrol the peer again with `tvmmp host enroll`, and check the clocks of both hosts',
    }),
    revocation(input.revocations, input.hello.versions, host),
    akPublic(input, host),
    receiveKey(input, host),
    host === undefined ? skipped('quote-signature', 'ak-certificate') : quoteSignature(signed),
    check('quote-type', parsed.type === 'quote', {
      expected: 'a quote made by a TPM',
      found: parsed.type === 'quote' ? 'a quote' : parsed.why,
      remedy: 'the evidence is damaged or forged: look at the peer',
    }),
    quote === undefined ? skipped('quote-binding', because) : quoteBinding(input, quote),
    quote === undefined ? skipped('pcr-selection', because) : pcrSelection(input, quote),
    ofLogs('event-log'),
    ofLogs('ima-list'),
    ...(asksForLogs(input.ownPolicy)
      ? [ofLogs('pcr-values'), ofLogs('pcr-state')]
      : [
          quote === undefined ? skipped('pcr-values', because) : pcrValues(input, quote),
          quote === undefined ? skipped('pcr-state', because) : pcrState(input, quote, state),
        ]),
    ...rules(input, host, state),
    ...[...bootChecks, ...fileChecks].map(ofLogs).map((one) => (isRescue(input) ? rescued(one) : one)),
    policyVersion(input),
  ];
  return {
    checks,
    ...(host === undefined ? {} : { certificate: host }),
    ...(state === undefined ? {} : { state }),
  };
}

/** The state of our policy that the quote shows: by its digest alone, or with the values that its logs lead to. */
function stateOf({ ownPolicy, logs }: AppraisalInput, quote: QuoteAttest): PolicyState | undefined {
  if (!asksForLogs(ownPolicy)) return approvedState(quote, ownPolicy);
  if (logs === null || !bytesEqual(logs.pcrDigest, quote.pcrDigest)) return undefined;
  return ownPolicy.states.find(({ name }) => name === logs.state);
}

function peerName(input: AppraisalInput, host: HostCertificate | undefined): Check {
  const names = { TLS: input.tlsPeerName, hello: input.hello.host, 'AK certificate': host?.name ?? '(none)' };
  const one = Object.values(names).every((name) => name === input.hello.host);
  return check('peer-name', one && input.hello.host !== input.selfName, {
    expected: `one host by TLS certificate, hello and AK certificate, other than ${input.selfName}`,
    found: Object.entries(names)
      .map(([where, name]) => `${where} ${name}`)
      .join(', '),
    remedy: 'install the AK and agent certificates of one enrolment on the peer',
  });
}

function akPublic({ hello }: AppraisalInput, host: HostCertificate | undefined): Check {
  if (host === undefined) return skipped('ak-public', 'ak-certificate');
  const area = attempt(() => parsePublicArea(hello.akPublic));
  const key = attempt(() => (area.value === undefined ? undefined : keyObjectOf(area.value)));
  const named = area.value !== undefined && bytesEqual(nameOf(hello.akPublic), host.akName);
  const restricted =
    area.value !== undefined &&
    hasAttributes(area.value, ['fixedTpm', 'fixedParent', 'sensitiveDataOrigin', 'restricted', 'sign']);
  const same = key.value?.equals(host.publicKey) ?? false;
  return check('ak-public', named && restricted && same, {
    expected: `the restricted signing key ${shortHex(host.akName)} of the AK certificate`,
    found:
      area.error ??
      key.error ??
      `${restricted ? '' : 'not a restricted signing key: '}${nameText(hello.akPublic)}`,
    remedy: 'enrol the peer again: its AK is not the one that was certified',
  });
}

function receiveKey(input: AppraisalInput, host: HostCertificate | undefined): Check {
  const { hello, ownPolicy } = input;
  if (host === undefined) return skipped('receive-key', 'ak-certificate');
  const policyKey = foreignDomain(input)?.named?.policyKey ?? ownPolicy.signerSpki;
  const template = receiveKeyTemplate(receivePolicyOf(policyKey));
  const made = attempt(() => matchesTemplate(hello.receivePublic, template));
  const named = made.value !== undefined && bytesEqual(nameOf(hello.receivePublic), host.receiveKeyName);
  const flaw =
    made.error ?? (made.value === true ? undefined : 'a key of other attributes or of another policy key');
  return check('receive-key', named && flaw === undefined, {
    expected: `the receive key ${shortHex(host.receiveKeyName)} of the AK certificate, usable in approved states alone`,
    found: flaw ?? nameText(hello.receivePublic),
    remedy: "enrol the peer again with this authority's policy key",
  });
}

function quoteSignature(signed: boolean): Check {
  return check('quote-signature', signed, {
    expected: 'the signature of the certified AK over the quote',
    found: signed ? 'that signature' : 'another one',
    remedy: 'the evidence is damaged or forged: look at the peer and at the path to it',
  });
}

function quoteBinding({ claim, statement }: AppraisalInput, quote: QuoteAttest): Check {
  const bound = boundTo(quote, leafHash(statement), claim.path);
  return check('quote-binding', bound, {
    expected: 'a quote made for this session, channel, VM and role',
    found: bound ? 'that' : 'a quote made for something else',
    remedy: 'somebody replays or relays evidence, or the connection was taken over: look at the network',
  });
}

function pcrSelection({ ownPolicy }: AppraisalInput, quote: QuoteAttest): Check {
  const wanted = evidenceSelection(ownPolicy);
  return check('pcr-selection', selects(quote, wanted), {
    expected: selectionText(wanted),
    found: selectionText(quote.pcrSelection),
    remedy: 'give both hosts the same policy: `tvmmp policy install`',
  });
}

function pcrValues({ claim }: AppraisalInput, quote: QuoteAttest): Check {
  const matches = tellsTrue(quote, claim.pcrs);
  return check('pcr-values', matches, {
    expected: 'the values of the quoted PCRs',
    found: matches ? 'those' : 'values that the quote does not cover',
    remedy: 'PCRs changed while they were read, or the peer lies: try again, then look at the peer',
  });
}

function pcrState(
  { claim, ownPolicy, hello }: AppraisalInput,
  quote: QuoteAttest,
  state: PolicyState | undefined,
): Check {
  const told = tellsTrue(quote, claim.pcrs) ? claim.pcrs : [];
  return check('pcr-state', state !== undefined && selects(quote, ownPolicy.selection), {
    expected: `an approved state of policy ${ownPolicy.id} v${ownPolicy.version}`,
    found: state === undefined ? explainPcrs(told, ownPolicy) : `state ${state.name}`,
    remedy: `if ${hello.host} was updated on purpose, approve its new state in the policy; otherwise keep VMs away from it`,
  });
}

/** `forward` for who receives, `backward` for who has held the VM (SPEC 10.1). */
function rules(
  input: AppraisalInput,
  host: HostCertificate | undefined,
  state: PolicyState | undefined,
): readonly Check[] {
  const { role, ownPolicy, hello } = input;
  if (host === undefined)
    return (['rule-attributes', 'rule-versions', 'rule-states'] as const).map((name) =>
      skipped(name, 'ak-certificate'),
    );
  const member = memberOf(role);
  const view = { root: input.root.digest, domains: ownPolicy.domains };
  const attributes = attributesSeen(view, input.peerRoot ?? input.root.digest, host.attributes);
  const ruled = { attributes, versions: hello.versions, state: state?.name };
  const own = ruleChecks(member, ownPolicy.rulesOfHosts[member], ruled);
  const named = foreignDomain(input)?.named ?? null;
  if (named === null) return own;
  return bothHold(own, ruleChecks(`${member} of ${named.name}`, named.rules[member], ruled));
}

/** The rule of a policy that a peer in this role is held against. */
function memberOf(role: Role): HostRuleMember {
  return role === 'target' ? 'forward' : 'backward';
}

/** Our own rule and that for a domain, check by check. */
function bothHold(own: readonly Check[], theirs: readonly Check[]): readonly Check[] {
  return own.map((one, index) => {
    const other = theirs[index] ?? one;
    if (one.outcome === 'fail' || other.outcome === 'fail') return one.outcome === 'fail' ? one : other;
    return check(one.name, true, { ...one, expected: `${one.expected}; ${other.expected}` });
  });
}

/** Null for a peer of our own domain; `named`: the domain as our policy names it, null where it does not. */
export function foreignDomain({
  root,
  peerRoot,
  ownPolicy,
}: Pick<AppraisalInput, 'root' | 'peerRoot' | 'ownPolicy'>): { readonly named: Domain | null } | null {
  if (peerRoot === undefined || bytesEqual(peerRoot, root.digest)) return null;
  return { named: domainOf(ownPolicy.domains, peerRoot) };
}

/** `domain` of SPEC 17.2. */
function domainNamed({ role, ownPolicy }: AppraisalInput, named: Domain | null): Check {
  const member = memberOf(role);
  const does = role === 'target' ? 'receive VMs' : 'give VMs';
  return check('domain', named?.rules[member] !== undefined, {
    expected: `a domain whose hosts may ${does} by policy ${ownPolicy.id} v${ownPolicy.version} (${member})`,
    found: named === null ? 'a domain that it does not name' : `the domain ${named.name}`,
    remedy: 'if VMs shall go there or come from there, say so in the policy (domains) and sign it',
  });
}

/** A VM leaves a holder that says it is quarantined, under a policy that lets it. */
function isRescue({ role, quarantined, ownPolicy }: AppraisalInput): boolean {
  return role === 'source' && quarantined === true && ownPolicy.quarantine?.leave === 'trusted';
}

/** What ran on that holder since it booted keeps no VM there; that its list is whole and its own is another check. */
function rescued(one: Check): Check {
  if (one.outcome === 'pass' || (one.name !== 'ima-files' && one.name !== 'ima-violations')) return one;
  const { name, expected, found } = one;
  const why = 'let pass, since the policy lets VMs leave a host that is quarantined';
  return check(name, true, { expected, found: `${why}: ${found}`, remedy: '' });
}

function policyVersion(input: AppraisalInput): Check {
  const { hello, ownPolicy, requiredPolicyVersion } = input;
  const { id, version, digest } = hello.policy;
  const named = foreignDomain(input)?.named ?? null;
  if (named !== null) {
    const least = Math.max(named.policy.version, requiredPolicyVersion);
    return check('policy-version', id === named.policy.id && version >= least, {
      expected: `policy ${named.policy.id} v${least} or later, of the domain ${named.name}`,
      found: `policy ${id} v${version}`,
      remedy: `have the current policy of its domain installed on ${hello.host}`,
    });
  }
  const fresh = id === ownPolicy.id && version >= requiredPolicyVersion;
  const consistent = version !== ownPolicy.version || bytesEqual(digest, ownPolicy.digest);
  return check('policy-version', fresh && consistent, {
    expected: `policy ${ownPolicy.id} v${requiredPolicyVersion} or later`,
    found: `policy ${id} v${version}${fresh && !consistent ? ' with another content than ours' : ''}`,
    remedy: `install the authority's current policy on ${hello.host}: \`tvmmp policy install\``,
  });
}

function attempt<T>(read: () => T): { value?: T; error?: string } {
  try {
    return { value: read() };
  } catch (error) {
    if (error instanceof TvmmpError) return { error: error.message };
    throw error;
  }
}

function nameText(publicArea: Uint8Array): string {
  return attempt(() => `the key ${shortHex(nameOf(publicArea))}`).value ?? 'no key';
}

function shortHex(bytes: Uint8Array): string {
  return `${hex(bytes).slice(0, 16)}...`;
}
