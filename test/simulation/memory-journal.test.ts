import assert from 'node:assert/strict';
import { Journal } from '../../lib/ledger/journal.ts';
import type { SessionRole, SessionState, VmRecord } from '../../lib/ledger/records.ts';
import { randomOf } from './kernel.ts';
import { MemoryJournal } from './memory-journal.ts';

type AnyJournal = Pick<Journal, keyof Journal>;
type Draw = (count: number) => number;

const uuids = ['5b0c9c0e-2f5e-4f4b-9d2a-0f3f1f7a1c11', '6b1a6f4e-0f1d-4c64-9d0a-3f5b8c1e2a77'];
const states: readonly SessionState[] = [
  'staged',
  'aborting',
  'departed',
  'aborted',
  'arrived',
  'done',
  'resolved',
];

const bytesOf = (...values: number[]): Uint8Array => Uint8Array.from(Buffer.alloc(32, Buffer.from(values)));

function vmOf(uuid: string, draw: Draw): VmRecord {
  const sealed = draw(2) === 0 ? null : bytesOf(draw(9));
  return {
    uuid,
    name: `guest ${draw(3)} ${uuid}`,
    state: draw(2) === 0 ? 'running' : 'gone',
    epoch: draw(9),
    sequence: draw(9),
    head: bytesOf(draw(9)),
    facts: bytesOf(2),
    vtpm: null,
    secret: 'secret',
    sealed,
    context: sealed,
    holder: `host ${draw(3)}`,
  };
}

/** One change, drawn; what it gives back, or that it failed. */
function change(journal: AnyJournal, draw: Draw, depth = 0): unknown {
  const uuid = uuids[draw(2)] ?? '';
  const sequence = draw(12);
  const id = bytesOf(draw(5));
  const now = 1_000 + draw(100);
  const bytes = bytesOf(draw(250), sequence);
  const credential = {
    kind: draw(2) === 0 ? 'policy' : 'certificate',
    digest: bytesOf(draw(4)),
    bytes,
  } as const;
  const kind = draw(depth === 0 ? 21 : 20);
  const role: SessionRole = draw(2) === 0 ? 'source' : 'target';
  const state = states[draw(states.length)] ?? 'done';
  const times = { started: now, updated: now + draw(2) * 8 * 24 * 3_600_000 };
  const entries = Array.from({ length: 1 + draw(4) }, (_, index) => bytesOf(draw(250), sequence + index));
  const chain = {
    first: sequence,
    summaries: new Map(draw(2) === 0 ? [] : [[sequence, bytes]]),
    continues: draw(2) === 0,
    entries,
    departures: new Map([[draw(6), bytes]]),
    credentials: [credential],
  };
  const inner = draw(4);
  const fails = draw(2) === 0;
  const changes = [
    () => {
      journal.putVm(vmOf(uuid, draw));
    },
    () => {
      journal.setVmState(uuid, 'stopped');
    },
    () => {
      journal.removeVm(uuid);
    },
    () => {
      journal.putSummary(uuid, sequence, bytes);
    },
    () => {
      journal.appendEntry(uuid, (journal.vm(uuid)?.epoch ?? 0) + sequence, bytes);
    },
    () => {
      journal.rewindChain(uuid, sequence, id);
    },
    () => {
      journal.replaceChain(uuid, chain);
    },
    () => {
      journal.putDeparture(uuid, draw(6), bytes);
    },
    () => {
      journal.putCredentials(uuid, [credential, { ...credential, digest: bytesOf(draw(4)) }]);
    },
    () => journal.openSession({ id, vm: uuid, role, state: 'open', peer: '', address: 'a:1', ...times }),
    () => {
      journal.changeSession(id, draw(2) === 0 ? { state } : { peer: `host ${draw(3)}` }, now);
    },
    () => {
      journal.noteProblem(id, ['', 'one', 'two'][draw(3)] ?? '', now);
    },
    () => {
      journal.noteStep(id, 'note', now);
    },
    () => {
      journal.putPermit({
        vm: uuid,
        session: id,
        facts: bytes,
        verdict: bytes,
        expires: now,
        consumed: null,
      });
    },
    () => journal.consumePermit(uuid, id, 1_000 + draw(100)),
    () => {
      journal.putSetting(`key ${draw(2)}`, `value ${draw(9)}`);
    },
    () => {
      journal.addRefusal({
        time: now,
        vm: uuid,
        peer: null,
        operation: 'start',
        reason: 'no',
        verdict: null,
      });
    },
    () => {
      journal.putVtpmState({ vm: uuid, standing: 'at-rest', digest: draw(4) === 0 ? null : id, time: now });
    },
    () => {
      journal.removeVtpmState(uuid);
    },
    () => journal.swapLedgerRow(uuid, draw(2) === 0 ? null : bytesOf(draw(2)), bytesOf(draw(2))),
    () => {
      journal.transaction(() => {
        for (let left = inner; left > 0; left -= 1) change(journal, draw, 1);
        if (fails) throw new Error('this one fails');
      });
    },
  ];
  try {
    return changes[kind]?.() ?? null;
  } catch {
    return 'failed';
  }
}

/** All that can be read. */
function contents(journal: AnyJournal): unknown {
  const ids = [0, 1, 2, 3, 4].map((value) => bytesOf(value));
  return plain({
    vms: journal.vms(),
    chains: uuids.map((uuid) => ({
      vm: journal.vm(uuid),
      entries: [journal.entries(uuid), journal.entries(uuid, 5)],
      entry: journal.entry(uuid, 4),
      begins: journal.historyBegins(uuid),
      summaries: [journal.summaries(uuid), journal.summary(uuid, 3), journal.firstSummaryFrom(uuid, 2)],
      departures: journal.departures(uuid),
      credentials: journal.credentials(uuid),
      permit: journal.permit(uuid),
      vtpm: [journal.vtpmState(uuid), ids.map((id) => journal.wasVtpmState(uuid, id))],
      vtpmPast: journal.pastVtpmStates(uuid).map((digest) => Buffer.from(digest).toString('hex')),
      ledger: journal.ledgerRow(uuid),
      sessions: journal.sessions(uuid),
    })),
    sessions: [journal.sessions(), journal.unfinishedSessions(), journal.unfinishedSessions('target')],
    each: ids.map((id) => [journal.session(id), journal.sessionSteps(id), journal.setAside(id)]),
    refusals: journal.refusals(9),
    settings: [journal.setting('key 0'), journal.setting('key 1'), ...journal.settings('key ')],
  });
}

function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_key, part: unknown) =>
      part instanceof Uint8Array || (part as { type?: string } | null)?.type === 'Buffer'
        ? Buffer.from((part as { data?: Uint8Array }).data ?? (part as Uint8Array)).toString('hex')
        : part,
    ),
  );
}

describe('the journal of the simulation', () => {
  it('says after any changes what the shipped one says', () => {
    for (let seed = 1; seed <= 60; seed += 1) {
      const shipped = new Journal(':memory:');
      const memory = new MemoryJournal();
      const [one, other] = [randomOf(seed), randomOf(seed)];
      for (let step = 0; step < 60; step += 1) {
        const expected = change(shipped, (count) => Math.floor(one() * count));
        const found = change(memory, (count) => Math.floor(other() * count));
        const which = `seed ${seed}, step ${step}`;
        assert.deepEqual(found, expected, which);
        assert.deepEqual(contents(memory), contents(shipped), which);
        assert.equal(memory.changes, shipped.changes, which);
      }
      shipped.close();
    }
  });
});
