/** Taking up VMs whose hosts are lost. */
import { mutantsOf } from './mutant.ts';

const vectors = 'test/vectors/proof.test.ts';
const authority = 'test/unit/authority/rescue.test.ts';
const host = 'test/unit/migration/rescue.test.ts';
const gate = 'test/unit/migration/start-gate.test.ts';
const statement = 'test/unit/appraisal/recovery.test.ts';

export const rescue = [
  ...mutantsOf('lib/proof/verify.ts', vectors, [
    {
      name: 'rescue/statement',
      defence: 'A proof in which a VM changed hosts without its holder carries the word of the authority',
      spec: '15.4',
      find: 'const recovery = demandRecovery(head, verified.entry, side, credentials);',
      replace: 'const recovery = null as ReturnType<typeof demandRecovery>;',
      title:
        'recovered-without-statement: a host takes a VM up on its own word, and leaves the statement out',
    },
  ]),
  ...mutantsOf('lib/proof/recovery.ts', vectors, [
    {
      name: 'rescue/for-one-host',
      defence: 'A recovery statement is good for the host that it names',
      spec: '15.4',
      find: '  if (!names(statement.to, to))\n',
      replace: "  if (to.name === '')\n",
      title:
        'recovered-statement-for-another-host: a second host replays the statement that the authority signed for the first',
    },
    {
      name: 'rescue/about-one-entry',
      defence: 'A recovery statement is about one end of a chain',
      spec: '15.4',
      find: '  if (!bytesEqual(statement.head, chain.head))\n',
      replace: '  if (chain.head.length === 0)\n',
      title:
        'recovered-statement-about-another-entry: the chain was cut off, or went on, after the statement was made',
    },
    {
      name: 'rescue/about-one-birth',
      defence: 'A recovery statement is about one VM of a UUID',
      spec: '15.4',
      find: '  if (!bytesEqual(statement.birth, chain.birth)) return',
      replace: '  if (chain.birth.length === 0) return',
      title: 'recovered-statement-about-another-birth: a statement about an earlier VM of the same UUID',
    },
    {
      name: 'rescue/about-one-host',
      defence: 'A recovery statement says which host is lost',
      spec: '15.4',
      find: '  if (!names(statement.lost, chain.holder))\n',
      replace: "  if (chain.holder.name === '')\n",
      title: 'recovered-statement-about-another-loss: the authority stated that another host is lost',
    },
    {
      name: 'rescue/escrow-in-policy',
      defence: 'Nothing is recovered under a policy without escrow',
      spec: '15.4',
      find: "demand(escrow !== null, 'recovery',",
      replace: "demand(escrow !== undefined, 'recovery',",
      title:
        'recovered-without-escrow: the policy in force knows no escrow, so that there was nothing to open rightfully',
    },
    {
      name: 'rescue/tenant-in-proof',
      defence: 'A proof does not hold in which a VM was recovered against its tenant',
      spec: '10.5, 15.4',
      find: "demand(tenant?.escrow !== 'no', 'recovery',",
      replace: "demand(tenant !== undefined, 'recovery',",
      title: 'recovered-against-the-tenant: the tenant of the VM has forbidden escrow',
    },
  ]),
  ...mutantsOf('lib/proof/tenant.ts', vectors, [
    {
      name: 'rescue/tenant-hosts',
      defence: 'A rescue is no way around what the tenant asks of hosts',
      spec: '4, 10.5',
      find: "new Set(['bound', 'arrived', 'recovered'])",
      replace: "new Set(['bound', 'arrived'])",
      title:
        'recovered-where-the-tenant-does-not-want-it: a rescue is no way around what the tenant asks of hosts',
    },
  ]),
  ...mutantsOf('lib/proof/chain.ts', vectors, [
    {
      name: 'rescue/another-key',
      defence: 'The host that is said to be lost does not recover the VM itself',
      spec: '4',
      find: "  demand(other, 'holder', 'recovered by",
      replace: "  demand(other || !other, 'holder', 'recovered by",
      title: 'holder-recovered-by-the-lost: the host that is said to be lost opens another epoch for itself',
    },
    {
      name: 'rescue/known-to-the-lost',
      defence: 'What a lost host knows last is a mark: it sees whether it went on beside the chain',
      spec: '4.1',
      find: '    const known = [\n      { sequence: state.sequence, hash: state.head },\n',
      replace: '    const known = [\n',
      title:
        'good-recovered-in-history: a summary after a rescue names the last entry of the lost host and the rescue: both hosts may stop to follow there',
    },
  ]),
  ...mutantsOf('lib/appraisal/recovery.ts', statement, [
    {
      name: 'rescue/payload-type',
      defence: 'No other document of the authority is a recovery statement',
      spec: '15.4',
      find: 'if (envelope.payloadType !== RECOVERY_PAYLOAD_TYPE)',
      replace: "if (envelope.payloadType === '')",
      title: 'are signed by a policy signer of the root, as what they are',
    },
  ]),
  ...mutantsOf('lib/appraisal/recovery-text.ts', statement, [
    {
      name: 'rescue/canonical',
      defence: 'A recovery statement has one spelling',
      spec: '15.4',
      find: 'if (formatRecovery(document) !== text)',
      replace: "if (formatRecovery(document) === '')",
      title: 'have one spelling',
    },
  ]),
  ...mutantsOf('lib/authority/rescue.ts', authority, [
    {
      name: 'rescue/once',
      defence: 'The authority gives a VM to one host',
      spec: '15.4',
      find: 'if (known !== null && (!bytesEqual(known.toAk, to.akName) || !bytesEqual(known.head, head.head)))',
      replace: 'if (known !== null && head.epoch < 0)',
      title: 'is given once: to the same host again, about the same entry, and to no other',
    },
    {
      name: 'rescue/revoked-first',
      defence: 'Nobody takes the word of a host any more whose VM was given away',
      spec: '15.4',
      find: '  if (revocationOf(list, head.holder.akName) === undefined)\n',
      replace: '  if (list === undefined)\n',
      title: 'is refused while the host that holds the VM is trusted',
    },
    {
      name: 'rescue/tenant-forbids',
      defence: 'The authority opens no key against the tenant of the VM',
      spec: '10.5, 15.4',
      find: "if (tenant.escrow === 'no') throw",
      replace: "if (tenant.condition === '') throw",
      title: 'is refused where the tenant forbids escrow, or does not want the other host',
    },
    {
      name: 'rescue/enrolled-key',
      defence: 'A key is sealed for the receive key that its host was enrolled with',
      spec: '15.4',
      find: 'if (!bytesEqual(nameOf(receivePublic), enrolled.receiveKeyName))',
      replace: 'if (receivePublic.length === 0)',
      title:
        'is refused for a host that is not enrolled so, revoked, the lost one, or not what the policy wants',
    },
    {
      name: 'rescue/bound-to-statement',
      defence: 'The key that is given out is bound to the statement',
      spec: '5.3, 15.4',
      find: 'const sealed = await reseal(request, head, key, signed.digest, use);',
      replace: 'const sealed = await reseal(request, head, key, signed.head, use);',
      title: 'states that the holder is lost and seals the key for the other host, bound to that statement',
    },
  ]),
  ...mutantsOf('lib/migration/rescue.ts', host, [
    {
      name: 'rescue/list-here',
      defence: 'A host takes no VM up from a host that it would still believe',
      spec: '15.5',
      find: 'if (revocationOf(host.revocations()?.list ?? null, head.holder.akName) === undefined)',
      replace: 'if (host.revocations() === undefined)',
      title: 'is not taken up before the lost host is revoked here, nor by a host that is revoked itself',
    },
    {
      name: 'rescue/this-request',
      defence: 'A statement answers one request',
      spec: '15.5',
      find: 'if (!bytesEqual(statement.request, sha256(rescue.request)))',
      replace: 'if (rescue.request.length === 0)',
      title: 'is taken up by no host that the statement is not for, nor with a key that was sealed otherwise',
    },
    {
      name: 'rescue/old-vtpm',
      defence: 'An older state of the vTPM is not taken up',
      spec: '15.5',
      find: '  if (stopped && !request.past.some((past) => bytesEqual(past, digest))) return digest;',
      replace: '  if (stopped) return digest;',
      title: 'is not taken up with an older vTPM, nor with another than it stopped with',
    },
    {
      name: 'rescue/stopped-vtpm',
      defence: 'A VM that was off is taken up with the vTPM that it stopped with',
      spec: '15.5',
      find: 'const stopped = request.state === null || bytesEqual(digest, request.state);',
      replace: 'const stopped = request.state === null || digest.length > 0;',
      title: 'that was off is not taken up with a state that nobody has seen',
    },
    {
      name: 'rescue/its-own-vtpm',
      defence: 'What is taken up is the vTPM that the proof names',
      spec: '15.5',
      find: '    await requireItsOwn(services, record);\n',
      replace: '    void requireItsOwn;\n',
      title: 'is not taken up with what is not its vTPM',
    },
    {
      name: 'rescue/ledger-first',
      defence: 'The end of a chain that the ledger has left behind is not even remembered',
      spec: '8.6, 15.5',
      find: '  await services.custody.requireCurrent(record.name, offeredLineage(proof));\n',
      replace: '  void offeredLineage;\n',
      title: 'is not taken up against the ledger: another host held it since',
    },
    {
      name: 'rescue/ledger',
      defence: 'The ledger agrees at the moment in which a host becomes the holder',
      spec: '8.6, 15.5',
      find: '  await services.custody.announce(record, statement.digest, host.identity.id);\n',
      replace: '',
      title: 'is not taken up against what the ledger hears meanwhile',
    },
    {
      name: 'rescue/tenant-here',
      defence: 'A host takes no VM up whose tenant forbids escrow',
      spec: '10.5, 15.5',
      find: "if (tenant?.escrow === 'no') throw",
      replace: "if (tenant?.condition === '') throw",
      title: 'is not taken up against its tenant, whatever the authority says',
    },
    {
      name: 'rescue/twice-at-a-time',
      defence: 'Two rescues of one VM at a time do not undo each other',
      spec: '15.5',
      find: '    requireFree(host, uuid);\n',
      replace: '    void requireFree;\n',
      title: 'is taken up by one of two requests, though the other began before it',
    },
  ]),
  ...mutantsOf('lib/migration/start-gate.ts', gate, [
    {
      name: 'rescue/revoked-starts-nothing',
      defence: 'A host that was told that it is revoked starts no VM: another host may have been given it',
      spec: '8.2, 15.5',
      find: '  requireUnrevoked(host);\n',
      replace: '  void requireUnrevoked;\n',
      title:
        'is refused where the host has been told that it is revoked itself, and allowed once that is taken back',
    },
  ]),
];
