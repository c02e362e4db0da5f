/** What administrators state without the other host, what an evacuation does, and how chains are written. */
import { mutantsOf } from './mutant.ts';

const resolution = 'test/unit/migration/resolution.test.ts';
const chains = 'test/unit/migration/chains.test.ts';
const evacuation = 'test/unit/cli/evacuation.test.ts';
const commands = 'test/unit/cli/agent-commands.test.ts';
const openTitle = 'is refused where the hand-over is over';
const riskTitle = 'resolves nothing unless one outcome is named and its risk is accepted by name';

export const resolutions = [
  ...mutantsOf('lib/migration/resolution.ts', resolution, [
    {
      name: 'resolve/open',
      defence: 'Nothing is stated of a hand-over that is over',
      spec: '6.9',
      find: '  requireOpen(session, outcome);\n  const asked',
      replace: '  const asked',
      and: [{ find: '  requireOpen(asked, outcome);\n', replace: '  void requireOpen;\n' }],
      title: openTitle,
    },
    {
      name: 'resolve/asks-first',
      defence: 'The peer is asked once more before anything is stated',
      spec: '6.9',
      find: '  const asked = await askOnce(services, sessions, session);\n',
      replace: '  const asked = session;\n  void askOnce;\n',
      title: 'is not stated where the other host answers when it is asked once more',
    },
    {
      name: 'resolve/answer-ends-it',
      defence: 'An answer that ends the session leaves nothing to resolve',
      spec: '6.9',
      find: '  requireOpen(asked, outcome);\n',
      replace: '',
      title: 'is not stated where the other host answers when it is asked once more',
    },
    {
      name: 'resolve/no-job',
      defence: 'Nothing is kept while libvirt has a migration of the VM',
      spec: '6.9',
      find: '    if ((await jobOf(hypervisor, record.uuid)) !== null)\n',
      replace: '    if ((await jobOf(hypervisor, record.uuid)) === undefined)\n',
      title: 'is refused while libvirt has a migration of the VM',
    },
    {
      name: 'resolve/something-to-keep',
      defence: 'Nothing is kept where neither the running VM nor its vTPM state is here',
      spec: '6.9',
      find: '  } else if (!(await files.vtpmIsMade(record.uuid))) {',
      replace: "  } else if (record.uuid === '' && !(await files.vtpmIsMade(record.uuid))) {",
      title: 'is refused where neither the running VM nor its vTPM state is here',
    },
    {
      name: 'resolve/not-active',
      defence:
        'Nothing is given up while libvirt has the VM active; that it destroys nothing then is said once more where it would',
      spec: '6.9',
      find: '  if (isActive(await lookAt(services.host.hypervisor, record.uuid)))\n',
      replace: "  if (record.uuid === '')\n",
      title: 'is refused while libvirt has the VM active',
    },
    {
      name: 'resolve/moved-on',
      defence: 'A VM that has moved on since is not given up by an old session',
      spec: '6.9',
      find: '  if (!ours || record.epoch !== epoch)\n',
      replace: "  if (record.uuid === '')\n",
      title: 'is refused where the VM has moved on since',
    },
    {
      name: 'resolve/proof-up-to-date',
      defence: 'A VM is given up where its proof says that it does not run',
      spec: '6.9',
      find: '  if (!states.includes(record.state))\n',
      replace: "  if (record.uuid === '')\n",
      title: 'is refused in a state of the proof in which another entry is still to come',
    },
    {
      name: 'resolve/peer-is-holder',
      defence: 'The peer counts as the holder of what was given up',
      spec: '6.9',
      find: '        holder: row.peer,\n',
      replace: '',
      title: 'destroys what is here, durably decided first',
    },
  ]),
  ...mutantsOf('lib/migration/resolution.ts', resolution, [
    {
      name: 'resolution/nothing-else-made',
      defence: 'Nothing is stated while another migration of the VM is being made',
      spec: '6.9',
      find: '  if (sessions.inTheMaking(record.uuid))\n',
      replace: "  if (record.uuid === '')\n",
      title: 'is not stated while another migration of the VM is being made',
    },
    {
      name: 'resolution/as-it-was-seen',
      defence: 'What is stated is about the migration as it was when somebody looked',
      spec: '6.9',
      find: '  if (asked.state !== session.state && !isConflict(asked))\n',
      replace: "  if (session.vm === '')\n",
      title: 'is not stated where the migration has gone on since somebody looked',
    },
    {
      name: 'resolution/unseen-came',
      defence: 'What is stated of a VM that came unseen is about one that came',
      spec: '6.9',
      find: "  if (came === 'and-stopped') return;\n",
      replace: "  if (came === 'and-stopped' || record.uuid !== '') return;\n",
      title: 'is refused where nothing came',
    },
  ]),
  ...mutantsOf('lib/migration/left-keys.ts', 'test/unit/migration/left-keys.test.ts', [
    {
      name: 'left-keys/forgotten',
      defence: 'An agent that starts takes keys out of libvirt that a killed one left there',
      spec: '8.3',
      find: 'if (!isStarting(domain)) await forgetSecret',
      replace: 'if (isStarting(domain)) await forgetSecret',
      title: 'is taken out when the agent starts',
    },
    {
      name: 'left-keys/of-no-start',
      defence: 'A key of which no start came is taken back',
      spec: '8.3',
      find: 'if (!isStarting(domain)) await givenKeys',
      replace: 'if (isStarting(domain)) await givenKeys',
      title: 'is taken back where libvirt ended while it waited for it',
    },
    {
      name: 'left-keys/not-of-a-start',
      defence: 'The key of a VM that libvirt starts at this moment is not taken back',
      spec: '8.3',
      find: 'if (!isStarting(domain)) await givenKeys',
      replace: 'await givenKeys',
      title: 'stays while libvirt starts the VM',
    },
    {
      name: 'left-keys/not-while-staged',
      defence: 'The key of a VM that is still to come is not taken back',
      spec: '8.3',
      find: "journal.vm(uuid)?.state !== 'staged'",
      replace: "uuid !== ''",
      title: 'stays while the VM that it is for is staged, and is still to come',
    },
  ]),
  ...mutantsOf('lib/migration/given-keys.ts', 'test/unit/migration/left-keys.test.ts', [
    {
      name: 'given-keys/not-of-another-start',
      defence: 'A key that a VM was given again meanwhile is not taken back',
      spec: '8.3',
      find: '      if (this.#given.get(key.uuid) !== key) return;\n',
      replace: '',
      title: 'stays where the VM was given it again since somebody looked',
    },
    {
      name: 'given-keys/also-of-a-fault',
      defence: 'A key that may have been given although it failed is looked after',
      spec: '8.3',
      find: '      try {\n        await work();\n      } finally {\n',
      replace: '      await work();\n      {\n',
      title: 'is one that may be there, where giving it failed',
    },
  ]),
  ...mutantsOf('lib/migration/sessions.ts', resolution, [
    {
      name: 'conflict/before-it-is-signed',
      defence: 'What the target says against a word that is still to be signed is heard',
      spec: '6.9, 8.2',
      find: "const unsigned = live?.state.tag === 'resolved' &&",
      replace: "const unsigned = key === '' && live?.state.tag === 'resolved' &&",
      title:
        'is contradicted by what the target says before it can be signed, and the VM does not start then',
    },
  ]),
  ...mutantsOf('lib/migration/source-session.ts', resolution, [
    {
      name: 'conflict/outlives-the-signature',
      defence: 'What was said against a word before it was signed stands when it is',
      spec: '6.9, 8.2',
      find: ", 'resolved', () => this.#contradiction);",
      replace: ", 'resolved', () => '');",
      title:
        'is contradicted by what the target says before it can be signed, and the VM does not start then',
    },
    {
      name: 'conflict/stated-again',
      defence: 'A word that is given again stands against what was said before it',
      spec: '6.9',
      find: "    if (input.kind === 'keep') this.#contradiction = '';\n",
      replace: '',
      title: 'stands against what the target said before, where it is stated again',
    },
  ]),
  ...mutantsOf('lib/migration/driver.ts', resolution, [
    {
      name: 'session/over-when-written',
      defence: 'A committed session is over when its end is written down, and is met again until it is',
      spec: '6.8',
      find: 'if (this.over(next) && this.committed(before)) this.#state = before;',
      replace: 'if (this.over(next) && !this.committed(next)) this.#state = next;',
      title: 'is over at a source when that is written down, however full the disk was at first',
    },
  ]),
  ...mutantsOf('lib/migration/target-session.ts', resolution, [
    {
      name: 'session/over-at-target-when-written',
      defence: 'Nobody at a target takes a session for over before its end is written down',
      spec: '6.8',
      find: "    if (state.tag === 'resolved' || state.tag === 'given-up') this.#finish.resolve(state.tag);\n",
      replace: '',
      and: [
        {
          find: "    if (state.tag === 'refused') void this.#conclude();\n",
          replace:
            "    if (state.tag === 'refused') void this.#conclude();\n    if (state.tag === 'resolved' || state.tag === 'given-up') this.#finish.resolve(state.tag);\n",
        },
      ],
      title: 'is over at a target when that is written down, however full the disk was at first',
    },
  ]),
  ...mutantsOf('lib/migration/past-sessions.ts', resolution, [
    {
      name: 'conflict/verified',
      defence: 'A conflict is noted over an arrival that verifies, and no other',
      spec: '6.9',
      find: '  verifyArrived(services, departing.state, message);\n',
      replace: '  void verifyArrived;\n',
      title: 'is believed over an arrival that is not the target’s',
    },
    {
      name: 'conflict/noted',
      defence: 'A conflict is noted, so that the VM does not start',
      spec: '6.9, 8.2',
      find: '  journal.noteProblem(record.id, problem, now());\n',
      replace: '  void [journal, now];\n',
      title:
        'destroys nothing where the target says arrived after all, tells both, and lets the VM start nowhere',
    },
  ]),
  ...mutantsOf('lib/migration/sessions.ts', resolution, [
    {
      name: 'given-up/not-come-back',
      defence: 'A VM that came back after it was given up is not destroyed on an old session’s word',
      spec: '6.9',
      find: "    if (vm?.state !== 'gone')\n",
      replace: '    if (vm === null)\n',
      title: 'is followed by departed where the VM did arrive, and not where it has come back since',
    },
  ]),
  ...mutantsOf('lib/agent/migration-methods.ts', resolution, [
    {
      name: 'resolve/accepted',
      defence: 'The agent takes no outcome without its risk accepted',
      spec: '6.9',
      find: "      if (params['accepted'] !== true)\n",
      replace: "      if (params['accepted'] === undefined && params['outcome'] === undefined)\n",
      title: 'is not taken by the agent without its risk accepted, nor another outcome than the two',
    },
  ]),
  ...mutantsOf('lib/cli/migration-resolve.ts', commands, [
    {
      name: 'resolve/one-outcome',
      defence: 'One outcome is named',
      spec: '6.9',
      find: '  if ((options.keepHere === true) === (options.giveUp === true))\n',
      replace: '  if (options.keepHere === undefined && options.giveUp === undefined)\n',
      title: riskTitle,
    },
    {
      name: 'resolve/risk-by-name',
      defence: 'The risk of one outcome is not accepted by the option of the other',
      spec: '6.9',
      find: "(outcome === 'keep' ? options.iAcceptTwoCopies : options.iAcceptLoss) === true",
      replace: '(options.iAcceptTwoCopies ?? options.iAcceptLoss) === true',
      title: riskTitle,
    },
    {
      name: 'resolve/says-the-outcome',
      defence: 'What was not done is not reported as done',
      spec: '6.9',
      find: '    if (!expected.includes(after.state))\n',
      replace: "    if (after.state === '')\n",
      title: 'exits 1 where there is nothing to resolve, or it was not done',
    },
  ]),
  ...mutantsOf('lib/cli/accept-risk.ts', commands, [
    {
      name: 'resolve/no-terminal',
      defence: 'Without a terminal nothing is accepted by typing',
      spec: '6.9',
      find: '  if (!process.stdin.isTTY || json) throw usageError(`${risk} Say ${option} if you accept that`);\n',
      replace: '  if (!process.stdin.isTTY || json) return void option;\n',
      title: riskTitle,
    },
  ]),
  ...mutantsOf('lib/cli/evacuation.ts', evacuation, [
    {
      name: 'evacuate/settled',
      defence: 'A VM that has left meanwhile, or is under way, is not moved again',
      spec: '6.6',
      find: "      if (!(await mover.settled(vm))) return { vm, outcome: 'left-meanwhile', attempts };\n",
      replace: '      void mover.settled;\n',
      title: 'does not move what has left meanwhile, and does nothing with nothing',
    },
    {
      name: 'evacuate/stops',
      defence: 'Interrupted, it begins nothing more',
      spec: '12',
      find: '      const ended = stop() || fatal;',
      replace: '      const ended = fatal && !stop();',
      title: 'begins nothing more once it is stopped, or where no attempt makes sense',
    },
    {
      name: 'evacuate/parallel',
      defence: 'No more VMs move at a time than was allowed',
      spec: '11',
      find: 'length: Math.min(parallel, vms.length)',
      replace: 'length: Math.max(parallel, vms.length)',
      title: 'moves all, spread over the destinations, never more at a time than allowed',
    },
  ]),
  ...mutantsOf('lib/migration/chains.ts', chains, [
    {
      name: 'chains/approved-state',
      defence: 'Nothing is written under a quote of a state that is not approved',
      spec: '4',
      find: "    if (draft.kind !== 'quarantined') this.#requireApprovedState(signed.attest);\n",
      replace: '',
      title: 'writes nothing while the platform is in no approved state',
    },
    {
      name: 'chains/one-at-a-time',
      defence: 'One entry of a VM is written at a time',
      spec: '4',
      find: '    return this.#mutex.run(uuid, async () => {\n      const record = this.#host.journal.vm(uuid);',
      replace: '    return (async () => {\n      const record = this.#host.journal.vm(uuid);',
      and: [
        {
          find: '      return this.#write(record, state, draft, options);\n    });',
          replace: '      return this.#write(record, state, draft, options);\n    })();',
        },
      ],
      title: 'writes one entry at a time, however many are asked for',
    },
    {
      name: 'chains/born-once',
      defence: 'A chain is not begun anew while the VM is protected',
      spec: '2',
      find: "if (before !== null && before.state !== 'destroyed') {",
      replace: 'if (before !== null && before.uuid === "") {',
      title: 'is begun once, and again only after its end',
    },
    {
      name: 'chains/foreign-checkpoint',
      defence: 'What is offered begins with a checkpoint of another host',
      spec: '4.1',
      find: '!sameHost(entry.host, this.#host.identity.id));',
      replace: 'entry.version === 1);',
      title: 'offers from a checkpoint on that another host has signed, or from birth',
    },
    {
      name: 'chains/every-holder',
      defence: 'Where every holder is asked about, all of the chain is offered',
      spec: '4.1, 10.1',
      find: '    if (asksOfEveryHolder(this.#host.policy().policy)) return this.proof(uuid);\n',
      replace: '    void asksOfEveryHolder;\n',
      title: 'offers all that there is where every holder has to be as the policy asks',
    },
  ]),
];
