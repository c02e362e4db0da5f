/** A few cells of the table of phases and faults (test/chaos); `scripts/chaos` runs all. */
import { runCell } from '../chaos/cell.ts';
import { ChaosLab } from '../chaos/chaos-lab.ts';
import { cellName, chosenCells } from '../chaos/table.ts';
import { labMissing } from '../../scripts/lab.d/lab.ts';
import { skipWithout } from '../support/skip.ts';

/** Each kind of gate, and what a crash of an agent, a host, libvirtd and QEMU leaves. */
const selection = [
  { faults: ['agent-kill'], phases: ['offered'], sides: ['source'] },
  { faults: ['power-cut'], phases: ['departed'], sides: ['source'] },
  { faults: ['power-cut'], phases: ['arriving'], sides: ['destination'] },
  { faults: ['libvirtd-kill'], phases: ['confirm'], sides: ['source'] },
  { faults: ['qemu-kill'], phases: ['finish'], sides: ['destination'] },
] as const;

describe('chaos on the lab', function () {
  this.timeout(300_000);
  let chaos: ChaosLab | null = null;

  before(async function () {
    skipWithout(this, labMissing());
    chaos = await ChaosLab.start();
  });
  afterEach(function () {
    if (this.currentTest?.state === 'failed') chaos?.lab.showLogs();
  });
  after(async () => {
    await chaos?.close();
  });

  for (const cell of selection.flatMap(chosenCells)) {
    it(`leaves one holder, with vTPM and proof whole: ${cellName(cell)}`, async () => {
      await runCell(chaos!, cell, await chaos!.holder());
    });
  }
});
