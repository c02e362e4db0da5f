/** The counter of the TPM (SPEC 8.8): what is found at a start, and what waits for an increment. */
import { mutantsOf } from './mutant.ts';

const anchor = 'test/unit/migration/anchor.test.ts';
const rolledBack = 'test/unit/migration/rolled-back.test.ts';

export const rollback = [
  ...mutantsOf('lib/migration/anchor.ts', anchor, [
    {
      name: 'anchor/goes-back',
      defence: 'A journal that is behind the counter of the TPM was put back with its disk',
      spec: '8.8',
      find: "  return ahead === 1n ? 'behind' : 'rolled-back';",
      replace: "  return ahead === 1n ? 'behind' : 'good';",
      title: 'finds every copy of the disk from before the last increment, and none from after it',
    },
    {
      name: 'anchor/intent-first',
      defence:
        'The journal says the number before the TPM has it: a power cut makes no rollback of an honest host',
      spec: '8.8',
      find: '    if (journal.setting(anchorName) !== String(next)) journal.putSetting(anchorName, String(next));\n    await this.#advance(next);\n',
      replace: '    await this.#advance(next);\n    journal.putSetting(anchorName, String(next));\n',
      title: 'stands whatever a power cut comes before or after, from the first start on',
    },
    {
      name: 'anchor/what-was-decided',
      defence: 'What was decided while an increment is under way waits for the next one',
      spec: '8.8',
      find: '    this.#anchored = upTo;\n',
      replace: '    this.#anchored = journal.changes + 0 * upTo;\n',
      title: 'resolves for nobody before an increment that began after what was decided',
    },
    {
      name: 'anchor/removed',
      defence: 'A counter that was removed is no first start',
      spec: '8.8',
      find: "  if (anchor === null || counter === null) return 'rolled-back';",
      replace: "  if (anchor === null || counter === null) return 'first';",
      title: 'does not forget that it went back, whatever a power cut comes before or after',
    },
    {
      name: 'anchor/marks-first',
      defence: 'VMs are marked in the same durable write that takes the number up again',
      spec: '8.8',
      find: '    journal.transaction(() => {\n      for (const { uuid } of held) {',
      replace:
        '    journal.putSetting(anchorName, counter === null ? binding : String(counter + 1n));\n    journal.transaction(() => {\n      for (const { uuid } of held) {',
      title: 'does not forget that it went back, whatever a power cut comes before or after',
    },
    {
      name: 'anchor/no-start',
      defence:
        'A VM that may have gone on since the disk was put back does not start, and nothing is signed for it',
      spec: '8.8',
      find: '  if (!isRolledBack(journal, uuid)) return;\n',
      replace: "  if (!isRolledBack(journal, uuid) || name !== '') return;\n",
      title: 'starts no VM that it takes for held, signs nothing for it, and does not unprotect it',
      test: rolledBack,
    },
  ]),
  ...mutantsOf('lib/migration/disclaimers.ts', rolledBack, [
    {
      name: 'anchor/disclaims-nothing',
      defence: 'A host whose disk was put back disclaims no hand-over of before',
      spec: '8.8',
      find: '  requireMemory(services, host.journal.session(session)?.started ?? null);\n',
      replace: '',
      title: 'disclaims no hand-over of before, and none that it does not know',
    },
  ]),
  ...mutantsOf('lib/migration/vtpm-states.ts', rolledBack, [
    {
      name: 'anchor/before-the-key',
      defence: 'The key of a VM that starts is given out after an increment',
      spec: '8.8',
      find: '      await this.#host.anchor.settle();\n',
      replace: '',
      title: 'the key of a VM that starts',
    },
  ]),
  ...mutantsOf('lib/migration/source-session.ts', rolledBack, [
    {
      name: 'anchor/before-the-offer',
      defence: 'A VM is offered after an increment',
      spec: '8.8',
      find: "        if (effect.message.kind === 'offer') await this.#services.anchor.settle();\n",
      replace: '',
      title: 'an offer: without it the VM stays',
    },
  ]),
  ...mutantsOf('lib/migration/staging.ts', rolledBack, [
    {
      name: 'anchor/before-staged',
      defence: 'A VM is let in by the hook that opened the session after an increment',
      spec: '8.8',
      find: '    await anchored;\n',
      replace: '    anchored.catch(() => undefined);\n',
      title: 'the hook that lets a VM in: without it the VM is refused, whoever opened the session',
    },
  ]),
  ...mutantsOf('lib/migration/admission.ts', rolledBack, [
    {
      name: 'anchor/before-admitted',
      defence: 'A VM that its source announced is let in after an increment',
      spec: '8.8',
      find: '          promised.anchored(),\n',
      replace: '',
      title: 'the hook that lets a VM in: without it the VM is refused, whoever opened the session',
    },
  ]),
  ...mutantsOf('lib/migration/target-session.ts', rolledBack, [
    {
      name: 'anchor/before-arrived',
      defence: 'Arrived is said after an increment',
      spec: '8.8',
      find: '          await this.#services.anchor.settle();\n',
      replace: '',
      title: 'arrived, which is said when there is one',
    },
  ]),
];
