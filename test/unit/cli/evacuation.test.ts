/** How VMs are spread, tried and counted when a host is emptied. */
import { strict as assert } from 'node:assert';
import { setImmediate as turn } from 'node:timers/promises';
import { evacuate } from '../../../lib/cli/evacuation.ts';
import type { Evacuated, Leaving, Mover } from '../../../lib/cli/evacuation.ts';

const vms: readonly Leaving[] = [1, 2, 3, 4, 5].map((n) => ({ uuid: `uuid-${n}`, name: `vm${n}` }));

/** Moves that take a turn of the event loop, and fail where the test says so. */
class Moves implements Mover<string> {
  readonly asked: string[] = [];
  readonly told: string[] = [];
  underWay = 0;
  most = 0;
  pauses = 0;
  failing: (vm: Leaving, to: string) => Error | null = () => null;
  gone: (vm: Leaving) => boolean = () => false;

  async move(vm: Leaving, to: string): Promise<string> {
    this.asked.push(`${vm.name}>${to}`);
    this.most = Math.max(this.most, (this.underWay += 1));
    await turn();
    this.underWay -= 1;
    const error = this.failing(vm, to);
    if (error !== null) throw error;
    return `moved ${vm.name}`;
  }

  settled(vm: Leaving): Promise<boolean> {
    return Promise.resolve(!this.gone(vm));
  }

  explain(error: unknown) {
    const { message } = error as Error;
    return { code: 'refused', message, fatal: message === 'fatal', busy: message === 'busy' };
  }

  async pause(): Promise<void> {
    this.pauses += 1;
    await turn();
  }

  report({ vm, outcome }: Evacuated<string>, done: number, all: number): void {
    this.told.push(`${done}/${all} ${vm.name} ${outcome}`);
  }
}

describe('evacuation of a host', () => {
  let moves: Moves;
  beforeEach(() => {
    moves = new Moves();
  });
  const outcomes = (results: readonly Evacuated<string>[]): readonly string[] =>
    results.map(({ outcome }) => outcome);

  it('asks a destination that is busy again, after the others, and not for ever', async () => {
    let busy = 2;
    moves.failing = (vm, to) => {
      if (vm.name === 'vm2') return new Error('busy');
      return to === 'beta' && busy-- > 0 ? new Error('busy') : null;
    };
    const results = await evacuate(vms.slice(0, 2), ['beta'], 1, moves);
    assert.deepEqual(outcomes(results), ['moved', 'failed']);
    assert.deepEqual(
      results[0]?.attempts.map(({ message }) => message),
      ['busy', 'busy'],
    );
    assert.equal(results[1]?.attempts.length, 5);
    assert.equal(moves.pauses, 2 + 4);
  });

  it('asks no busy destination again once it was told to stop', async () => {
    let stopped = false;
    moves.failing = () => {
      stopped = true;
      return new Error('busy');
    };
    const results = await evacuate(vms.slice(0, 1), ['beta'], 1, moves, () => stopped);
    assert.equal(results[0]?.attempts.length, 1);
  });

  it('moves all, spread over the destinations, never more at a time than allowed', async () => {
    const results = await evacuate(vms, ['beta', 'gamma'], 2, moves);
    assert.deepEqual(outcomes(results), Array<string>(5).fill('moved'));
    assert.deepEqual(
      [...moves.asked].sort(),
      ['vm1>beta', 'vm2>gamma', 'vm3>beta', 'vm4>gamma', 'vm5>beta'].sort(),
    );
    assert.equal(moves.most, 2);
    assert.deepEqual(
      results.map(({ vm }) => vm),
      vms,
    );
    assert.equal(moves.told.at(-1)?.slice(0, 3), '5/5');
  });

  it('asks the next destination where one does not take a VM, and tells all attempts', async () => {
    moves.failing = ({ name }, to) => (name === 'vm2' || to === 'gamma' ? new Error(`no ${name}`) : null);
    const results = await evacuate(vms.slice(0, 2), ['beta', 'gamma'], 1, moves);
    assert.deepEqual(outcomes(results), ['moved', 'failed']);
    assert.deepEqual(
      results[1]?.attempts.map(({ to, message }) => [to, message]),
      [
        ['gamma', 'no vm2'],
        ['beta', 'no vm2'],
      ],
    );
  });

  it('begins nothing more once it is stopped, or where no attempt makes sense', async () => {
    let stopped = false;
    moves.failing = () => {
      stopped = true;
      return null;
    };
    const results = await evacuate(vms, ['beta'], 1, moves, () => stopped);
    assert.deepEqual(outcomes(results), ['moved', ...Array<string>(4).fill('not-begun')]);
    const other = new Moves();
    other.failing = () => new Error('fatal');
    const fatal = await evacuate(vms, ['beta', 'gamma'], 1, other);
    assert.deepEqual(outcomes(fatal), ['failed', ...Array<string>(4).fill('not-begun')]);
    assert.deepEqual(other.asked, ['vm1>beta']);
  });

  it('does not move what has left meanwhile, and does nothing with nothing', async () => {
    moves.gone = ({ name }) => name === 'vm1';
    const results = await evacuate(vms.slice(0, 2), ['beta'], 4, moves);
    assert.deepEqual(outcomes(results), ['left-meanwhile', 'moved']);
    assert.deepEqual(await evacuate([], ['beta'], 4, moves), []);
  });
});
