import { join } from 'node:path';
import type { Command } from 'commander';
import type { HostRuleMember, RuledHost } from '../appraisal/host-rules.ts';
import type { DraftState, PolicyDraft } from '../appraisal/policy-text.ts';
import type { RecordedPlatform } from '../appraisal/recorded-logs.ts';
import { hex } from '../encoding/hex.ts';
import { askAgent } from './agent-client.ts';
import { collect, configOf, leaf } from './command.ts';
import type { CommonOptions } from './command.ts';
import { refused } from './exit.ts';
import { readText } from './files.ts';
import { paint, print, printJson } from './output.ts';

const CERTIFICATE_BYTES_MAX = 64 * 1024;

interface TestOptions extends CommonOptions {
  readonly state?: readonly string[];
  readonly recorded?: readonly string[];
}

/** What a policy would say of one platform. */
interface Outcome {
  /** `this host`, or the name of a recorded state. */
  readonly subject: string;
  readonly check: string;
  readonly outcome: 'pass' | 'fail';
  readonly expected: string;
  readonly found: string;
}

/** `tvmmp policy test`. */
export function addTest(policy: Command): void {
  leaf(policy, {
    usage: 'test <policy>',
    summary: 'try a policy before it locks anyone out',
    description:
      'Says whether this host would pass a policy, a draft or a signed one, as it is now: its PCRs, its logs by the rules about them, ' +
      'and its attributes and versions by the rules for who receives (forward) and who has held a VM (backward). With --recorded it ' +
      'is what other hosts have recorded, PCRs and logs, that is tried instead, with --state PCRs alone; rules about hosts are not ' +
      'looked at then. Nothing is put in force. Exit code 1 where something would be refused.',
    examples: [
      ['tvmmp policy test draft.json', 'On each host, before the draft is signed.'],
      [
        'tvmmp policy test draft.json --state alpha.json --state beta.json',
        'What tvmmp host measure --json wrote.',
      ],
      [
        'tvmmp policy test draft.json --recorded alpha/ --recorded beta/',
        'What tvmmp host measure --record wrote.',
      ],
    ],
    configured: true,
  })
    .option('--state <file>', 'output of tvmmp host measure --json; may be given several times', collect)
    .option(
      '--recorded <directory>',
      'what tvmmp host measure --record wrote; may be given several times',
      collect,
    )
    .action(async (file: string, options: TestOptions) => {
      const { readPolicyFile } = await import('./policy-diff.ts');
      const draft = await readPolicyFile(file);
      const { state = [], recorded = [] } = options;
      const outcomes =
        state.length + recorded.length === 0
          ? await tryHost(draft, options)
          : [...(await tryStates(draft, state)), ...(await tryRecordings(draft, recorded))];
      const failed = outcomes.filter(({ outcome }) => outcome === 'fail');
      if (options.json === true) printJson({ accepted: failed.length === 0, outcomes });
      else print(...outcomes.map(outcomeText));
      if (failed.length > 0)
        throw refused(
          `${draft.id} version ${draft.version} would refuse: ${[...new Set(failed.map(({ subject, check }) => `${subject} (${check})`))].join(', ')}`,
        );
    });
}

function outcomeText({ subject, check, outcome, expected, found }: Outcome): string {
  const text = `${outcome}  ${subject}: ${check}: ${found}${outcome === 'fail' ? `, expected ${expected}` : ''}`;
  return paint(outcome === 'pass' ? 'green' : 'red', text);
}

/** PCRs of a platform against the states of a policy; the state that it is in, if any. */
function statesOutcome(
  draft: PolicyDraft,
  subject: string,
  platform: DraftState,
): Outcome & { state?: string } {
  const differing = (state: DraftState): readonly number[] =>
    draft.pcrs.filter(
      (pcr) =>
        hex(state.pcrs.get(pcr) ?? new Uint8Array()) !== hex(platform.pcrs.get(pcr) ?? new Uint8Array()),
    );
  const [nearest] = draft.states
    .map((state) => ({ name: state.name, pcrs: differing(state) }))
    .sort((a, b) => a.pcrs.length - b.pcrs.length);
  const expected = `one of ${draft.states.length} approved states`;
  if (nearest?.pcrs.length === 0)
    return {
      subject,
      check: 'pcr-state',
      outcome: 'pass',
      expected,
      found: `state ${nearest.name}`,
      state: nearest.name,
    };
  const found = `differs from ${nearest?.name ?? 'every state'} in PCR ${(nearest?.pcrs ?? []).join(', ')}`;
  return { subject, check: 'pcr-state', outcome: 'fail', expected, found };
}

/** What the rules about logs say, where the policy has any; PCRs are told of apart. */
async function logOutcomes(
  draft: PolicyDraft,
  subject: string,
  platform: () => RecordedPlatform,
): Promise<readonly Outcome[]> {
  if (draft.rules?.eventLog === undefined && draft.rules?.ima === undefined) return [];
  const { judgeRecorded } = await import('../appraisal/recorded-logs.ts');
  return judgeRecorded(draft, platform()).flatMap(({ name, outcome, expected, found }) =>
    outcome === 'not-asked' || name === 'pcr-state'
      ? []
      : [{ subject, check: name, outcome, expected, found }],
  );
}

async function tryRecordings(
  draft: PolicyDraft,
  directories: readonly string[],
): Promise<readonly Outcome[]> {
  const { readRecording } = await import('./recording.ts');
  const { restrictTo } = await import('./measured-state.ts');
  const { pcrsWanted } = await import('../appraisal/recorded-logs.ts');
  const outcomes: Outcome[] = [];
  for (const directory of directories) {
    const { state, ...logs } = readRecording(directory);
    const { name, pcrs } = restrictTo(state, pcrsWanted(draft));
    outcomes.push(
      plain(statesOutcome(draft, name, state)),
      ...(await logOutcomes(draft, name, () => ({ pcrs, ...logs }))),
    );
  }
  return outcomes;
}

function plain({ subject, check, outcome, expected, found }: Outcome): Outcome {
  return { subject, check, outcome, expected, found };
}

async function tryStates(draft: PolicyDraft, files: readonly string[]): Promise<readonly Outcome[]> {
  const { readState, restrictTo } = await import('./measured-state.ts');
  return files.map((file) => {
    const platform = restrictTo(readState(file), draft.pcrs);
    return plain(statesOutcome(draft, platform.name, platform));
  });
}

async function tryHost(draft: PolicyDraft, options: CommonOptions): Promise<readonly Outcome[]> {
  const { stateOf } = await import('./measured-state.ts');
  const { ruleChecks } = await import('../appraisal/host-rules.ts');
  const { pcrsWanted } = await import('../appraisal/recorded-logs.ts');
  const { ownLogs } = await import('./recording.ts');
  const { withTpm } = await import('./host.ts');
  const { values } = await withTpm(configOf(options).tpm.tcti, (tpm) =>
    tpm.readPcrs([{ bank: 'sha256', pcrs: pcrsWanted(draft) }]),
  );
  const subject = 'this host';
  const measured = stateOf(subject, values);
  const logs = await logOutcomes(draft, subject, () => ({
    pcrs: measured.pcrs,
    ...ownLogs(configOf(options)),
  }));
  const { state, ...platform } = statesOutcome(draft, subject, measured);
  const members = (['forward', 'backward'] as const).filter(
    (member) => draft.rulesOfHosts?.[member] !== undefined,
  );
  if (members.length === 0) return [platform, ...logs];
  const host: RuledHost = { ...(await ownWords(options)), state };
  const judged = (member: HostRuleMember): readonly Outcome[] =>
    ruleChecks(member, draft.rulesOfHosts?.[member], host).map(({ name, outcome, expected, found }) => ({
      subject,
      check: `${member} ${name}`,
      outcome,
      expected,
      found,
    }));
  return [platform, ...logs, ...members.flatMap(judged)];
}

/** What this host's certificate says of it, and the versions that its agent tells. */
async function ownWords(options: CommonOptions): Promise<Pick<RuledHost, 'attributes' | 'versions'>> {
  const { AGENT_FILES, trustOf } = await import('../authority/host-directory.ts');
  const { verifyHostCertificate } = await import('../certificates/host-certificate.ts');
  const { certificateFromPem } = await import('../certificates/pem.ts');
  const { identity } = configOf(options).directories;
  const now = new Date();
  const der = certificateFromPem(readText(join(identity, AGENT_FILES.akCertificate), CERTIFICATE_BYTES_MAX));
  const { attributes } = verifyHostCertificate(der, trustOf(identity, now).root, now);
  const { versions } = (await askAgent(options, 'status')) as { versions: Readonly<Record<string, string>> };
  return { attributes, versions: new Map(Object.entries(versions)) };
}
