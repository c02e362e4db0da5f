/** Trust over time: what a host notices of itself, and what it does not take or give away then. */
import { mutantsOf } from './mutant.ts';

const quarantine = 'test/unit/migration/quarantine.test.ts';
const peers = 'test/unit/migration/peer-attestations.test.ts';

export const trust = [
  ...mutantsOf('lib/migration/target-session.ts', quarantine, [
    {
      name: 'quarantine/receives-nothing',
      defence: 'A host that is quarantined shows no evidence as a target',
      spec: '16.2',
      find: '    requireMayReceive(host);\n    await this.#services.custody.requireAnswer();\n',
      replace: '    await this.#services.custody.requireAnswer();\n',
      and: [
        {
          find: '    requireTenantAgreesToUs(accepted.verified.tenant, host, homeSeen(host, accepted.verified));\n    requireMayReceive(host);\n',
          replace:
            '    requireTenantAgreesToUs(accepted.verified.tenant, host, homeSeen(host, accepted.verified));\n',
        },
      ],
      title: 'receives nothing while it is quarantined, whoever opens the session',
    },
    {
      name: 'quarantine/stages-nothing',
      defence: 'A host that is quarantined after its evidence stages nothing',
      spec: '16.2',
      find: '    requireTenantAgreesToUs(accepted.verified.tenant, host, homeSeen(host, accepted.verified));\n    requireMayReceive(host);\n',
      replace:
        '    requireTenantAgreesToUs(accepted.verified.tenant, host, homeSeen(host, accepted.verified));\n',
      title: 'does not stage what was offered before it was quarantined',
    },
  ]),
  ...mutantsOf('lib/migration/source-checks.ts', quarantine, [
    {
      name: 'quarantine/keeps',
      defence: 'VMs leave a host that is quarantined only where the policy lets them',
      spec: '16.2',
      find: '  requireMayLeave(host, record.name);\n',
      replace: '',
      title: 'keeps its VMs where the policy lets none leave',
    },
  ]),
  ...mutantsOf('lib/migration/source-session.ts', peers, [
    {
      name: 'peers/sends-nothing',
      defence: 'A host that was refused gets no VM, whatever it shows in a session',
      spec: '16.4',
      find: '    requireMayReceiveAt(host, channel.peerName);\n',
      replace: '',
      title:
        'gets no VM from a peer that refused it, though it boots well for the session and hides its quarantine',
    },
  ]),
  ...mutantsOf('lib/appraisal/peer-checks.ts', quarantine, [
    {
      name: 'quarantine/rescue-says-so',
      defence: 'Files that ran at a source are let pass only where the proof says that it is quarantined',
      spec: '16.2',
      find: "role === 'source' && quarantined === true && ownPolicy",
      replace: "role === 'source' && quarantined !== null && ownPolicy",
      title: 'does not where it hides that it is quarantined',
    },
    {
      name: 'quarantine/rescue-files-alone',
      defence: 'Nothing but files that ran at a source is let pass',
      spec: '16.2',
      find: "(one.name !== 'ima-files' && one.name !== 'ima-violations')",
      replace: "one.name === 'policy-version'",
      title: 'does not where it booted otherwise than the policy says',
    },
  ]),
  ...mutantsOf('lib/migration/peer-standing.ts', peers, [
    {
      name: 'peers/hidden-quarantine',
      defence: 'VMs come from a host that was refused only with its quarantine in their proofs',
      spec: '16.4',
      find: '  if (!quarantined)\n',
      replace: '  if (!quarantined && standing.host === "")\n',
      title: 'keeps its VMs, too, where their proofs do not say that it is quarantined',
    },
    {
      name: 'peers/leave',
      defence: 'VMs come from a host that was refused only where our own policy lets them',
      spec: '16.4',
      find: "  if (quarantine?.leave !== 'trusted')\n",
      replace: '  if (quarantine === undefined)\n',
      title: 'does not get rid of them where the policy of the peer lets none leave',
    },
  ]),
  ...mutantsOf('lib/migration/peer-attestations.ts', peers, [
    {
      name: 'peers/genuine',
      defence: 'Nobody speaks ill of a host but by its own TPM',
      spec: '16.4',
      find: 'if (genuine) noteStanding(',
      replace: 'if (genuine || verdict.checks.length > 0) noteStanding(',
      title: 'is not spoken ill of by evidence that is not its TPM’s',
    },
  ]),
  ...mutantsOf('lib/migration/silent-peers.ts', peers, [
    {
      name: 'peers/silence',
      defence: 'A host that attested itself here and has fallen silent is said to be so',
      spec: '16.4',
      find: '        heard.isSilent = true;\n',
      replace: '',
      title: 'is said to be so after three periods, and not before; and nothing is taken away from it',
    },
    {
      name: 'peers/silence-of-agent',
      defence: 'A host is not silent because nobody listened',
      spec: '16.4',
      find: '{ time, at: now, isSilent: false }',
      replace: '{ time, at: now - (this.#host.now() - time), isSilent: false }',
      title: 'is given its time anew by a peer whose agent was down, and by one with another policy',
    },
    {
      name: 'peers/silence-of-revoked',
      defence: 'A host that is revoked is not waited for',
      spec: '16.4',
      find: 'ak !== undefined && revoked.has(ak)',
      replace: 'ak !== undefined && revoked.has("")',
      title: 'is expected no more once it is revoked',
    },
  ]),
  ...mutantsOf('lib/proof/verify.ts', 'test/vectors/proof.test.ts', [
    {
      name: 'quarantine/proof-leaves',
      defence: 'VMs leave a holder that says it is quarantined only under a policy that lets them',
      spec: '16.3',
      find: "  demand(quarantine?.leave === 'trusted', 'quarantine', why);\n",
      replace: "  demand(quarantine?.leave !== undefined, 'quarantine', why);\n",
      title:
        'quarantine-never-leaves: a holder that is quarantined gives the VM away, and its policy lets none leave',
    },
    {
      name: 'quarantine/nothing-else-unapproved',
      defence: 'In no approved state a holder can say that it is quarantined, and nothing else',
      spec: '16.3',
      find: "state !== undefined || entry.kind === 'quarantined'",
      replace: "state !== undefined || entry.kind === 'quarantined' || entry.kind === 'released'",
      title:
        'quarantine-released-unapproved: a holder that is in no approved state says that its quarantine is over',
    },
  ]),
  ...mutantsOf('lib/proof/chain.ts', 'test/vectors/proof.test.ts', [
    {
      name: 'quarantine/proof-remembers',
      defence: 'A hand-over that came to nothing ends no quarantine',
      spec: '16.3',
      find: "new Set(['released', 'arrived', 'recovered'])",
      replace: "new Set(['released', 'arrived', 'recovered', 'aborted'])",
      title: 'quarantine-not-over-after-aborted: a migration that came to nothing ends no quarantine',
    },
    {
      name: 'quarantine/released-from-it',
      defence: 'Only a holder that was quarantined is released',
      spec: '16.3',
      find: "  if (kind === 'released') demand(",
      replace: "  if (kind === 'released' && quarantined) demand(",
      title: 'quarantine-released-without: nothing is there that could end',
    },
  ]),
  ...mutantsOf('lib/proof/checkpoint.ts', 'test/vectors/proof.test.ts', [
    {
      name: 'quarantine/no-checkpoint',
      defence: 'A checkpoint does not hide that the holder is quarantined',
      spec: '16.3',
      find: '  if (state.quarantined || state.elsewhere.length > 0) return null;\n',
      replace: '  if (state.elsewhere.length > 0) return null;\n',
      title:
        'quarantine-summarised-away: a checkpoint would hide from who begins there that the holder is quarantined',
    },
  ]),
  ...mutantsOf('lib/migration/quarantine-entries.ts', quarantine, [
    {
      name: 'quarantine/says-so-first',
      defence: 'A VM leaves only when its proof says how its host stands',
      spec: '16.3',
      find: '  if (proofSays(services, record) === (quarantineOf(host) !== null)) return;\n',
      replace: '  if (quarantineOf(host) !== null) return;\n',
      title: 'lets none leave before its proof says so',
    },
    {
      name: 'quarantine/unbelieved',
      defence: 'A host whose key nobody believes any more signs nothing into proofs',
      spec: '16.3',
      find: "['ak-certificate', 'revocation', 'ak-public']",
      replace: "['ak-certificate', 'ak-public']",
      title: 'signs nothing where nobody would believe its signature',
    },
  ]),
  ...mutantsOf('lib/migration/self-appraisal.ts', quarantine, [
    {
      name: 'quarantine/growth',
      defence: 'A host looks at itself as soon as its IMA list grows',
      spec: '16.1',
      find: '    return (await this.#parts.host.logFiles.imaLength()) !== this.#length;\n',
      replace: '    return this.#length === "";\n',
      title:
        'is quarantined as soon as a file ran that the policy does not know, long before the next appraisal is due',
    },
    {
      name: 'quarantine/new-policy',
      defence: 'A host looks at itself as soon as another policy is in force',
      spec: '16.1',
      find: ' || !bytesEqual(policy.digest, this.#judgedBy)) return true;\n',
      replace: ') return true;\n',
      title: 'looks at once under a new policy',
    },
    {
      name: 'quarantine/durable',
      defence: 'A restart of the agent ends no quarantine',
      spec: '16.2',
      find: '  begin(): void {\n',
      replace: '  begin(): void {\n    writeQuarantine(this.#parts.host, null);\n',
      title: 'is still quarantined when its agent starts again, and comes out when its state is approved',
    },
  ]),
];
