/** Signed policies as `tvmmp` shows them. */
import { parseEnvelope } from '../appraisal/dsse.ts';
import type { Domain, Domains } from '../appraisal/domains.ts';
import { POLICY_PAYLOAD_TYPE } from '../appraisal/policy.ts';
import { policyError } from '../appraisal/policy-error.ts';
import { hostRuleMembers } from '../appraisal/host-rules.ts';
import type { HostRule } from '../appraisal/host-rules.ts';
import { parsePolicyDocument } from '../appraisal/policy-text.ts';
import type { PolicyDocument, PolicyDraft } from '../appraisal/policy-text.ts';
import type { QuarantineRule } from '../appraisal/quarantine-rule.ts';
import { sha256 } from '../encoding/hash.ts';
import { hex } from '../encoding/hex.ts';

/** Reads a signed policy without verifying it. Throws `policy-invalid`. */
export function decodePolicy(envelope: string): PolicyDocument & { readonly digest: Uint8Array } {
  const { payloadType, payload } = parseEnvelope(envelope);
  if (payloadType !== POLICY_PAYLOAD_TYPE)
    throw policyError('wrong-payload-type', `the envelope holds ${payloadType}, not a policy`);
  return { ...parsePolicyDocument(Buffer.from(payload).toString('utf8')), digest: sha256(payload) };
}

/** The states of a policy: a name and one line per PCR. */
export function statesText({ pcrs, states }: PolicyDraft): readonly string[] {
  return states.flatMap((state) => [
    `state ${state.name}`,
    ...pcrs.map((pcr) => `  PCR ${String(pcr).padStart(2)}  ${hex(state.pcrs.get(pcr) ?? new Uint8Array())}`),
  ]);
}

/** One line for each rule about hosts, for quarantine, for each domain and for escrow; none where the policy has none. */
export function rulesText({
  rulesOfHosts = {},
  quarantine,
  domains,
  escrow,
}: PolicyDraft): readonly string[] {
  const meanings = { forward: 'to receive a VM', backward: 'to have held a VM' } as const;
  const rules = hostRuleMembers.flatMap((member) => {
    const rule = rulesOfHosts[member];
    return rule === undefined ? [] : [`${member} (${meanings[member]}): ${ruleText(rule)}`];
  });
  return [
    ...rules,
    ...(quarantine === undefined ? [] : [`quarantine: ${quarantineText(quarantine)}`]),
    ...(domains?.others ?? []).map((one) => `domain ${one.name}: ${domainText(one)}`),
    ...(escrow === undefined ? [] : [`escrow: ${escrowText(escrow)}`]),
  ];
}

/** Whose it is and what its hosts may do, in one line. */
export function domainText(domain: Domain | undefined): string {
  if (domain === undefined) return 'not named';
  const { root, policyKey, policy, rules } = domain;
  const may = (rule: HostRule | undefined): string => {
    if (rule === undefined) return 'no';
    const text = ruleText(rule);
    return text === '' ? 'yes' : `yes, where ${text}`;
  };
  return [
    `root ${hex(root.digest)}, policy ${policy.id} from v${policy.version} on by key ${hex(sha256(policyKey))}`,
    `its hosts receive VMs: ${may(rules.forward)}`,
    `give VMs: ${may(rules.backward)}`,
  ].join('; ');
}

/** Domains for `--json`: as in the policy, with the digests of roots and keys in the place of these. */
export function domainsJson({ self, others }: Domains): unknown {
  return {
    self,
    others: others.map(({ name, root, policyKey, policy, rules }) => ({
      name,
      root: hex(root.digest),
      policyKey: hex(sha256(policyKey)),
      policy,
      ...rules,
    })),
  };
}

/** Whether there is escrow, and the digest of its key. */
export function escrowText(escrow: PolicyDraft['escrow']): string {
  if (escrow === undefined) return 'off';
  const digest = hex(sha256(Buffer.from(escrow.key, 'base64')));
  return `on: whoever has the private half of key ${digest} can open the vTPMs`;
}

/** How hosts appraise themselves, in one line. */
export function quarantineText(rule: QuarantineRule | undefined): string {
  if (rule === undefined) return 'nothing';
  const leave = { never: 'its VMs stay', trusted: 'its VMs may leave to trusted hosts' }[rule.leave];
  return `a host appraises itself every ${rule.everySeconds} s; where it fails it receives nothing, and ${leave}`;
}

/** A rule in one line. */
export function ruleText(rule: HostRule | undefined): string {
  if (rule === undefined) return 'nothing';
  const { attributes, versions = {}, states } = rule;
  return [
    ...(attributes === undefined ? [] : [attributes]),
    ...Object.entries(versions).map(([name, least]) => `${name} ${least} or later`),
    ...(states === undefined ? [] : [`state ${states.join(' or ')}`]),
  ].join('; ');
}

/** PCR values by index as JSON has them: `{"0":"hex"}`. */
export function pcrObject(pcrs: ReadonlyMap<number, Uint8Array>): Readonly<Record<string, string>> {
  return Object.fromEntries([...pcrs].map(([pcr, value]) => [String(pcr), hex(value)]));
}
