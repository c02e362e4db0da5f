import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { Journal } from '../../../lib/ledger/journal.ts';
import { SqliteLedger } from '../../../lib/ledger/sqlite-ledger.ts';
import { describeLedgerConformance } from '../../conformance/ledger.ts';
import { later, ledgerRow } from '../../support/ledger-rows.ts';

describe('ledger in the journal', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tvmmp-ledger-'));
  const file = join(directory, 'journal.sqlite');
  const journals: Journal[] = [];
  const open = (): SqliteLedger => {
    const journal = new Journal(file);
    journals.push(journal);
    return new SqliteLedger(journal);
  };
  const plant = (vm: string, bytes: Uint8Array): Promise<void> => {
    const db = new Database(file);
    db.prepare('INSERT OR REPLACE INTO ledger VALUES (?, ?)').run(vm, bytes);
    db.close();
    return Promise.resolve();
  };

  describeLedgerConformance(
    'SQLite',
    () => Promise.resolve({ open, plant }),
    () => {
      for (const journal of journals) journal.close();
      rmSync(directory, { recursive: true });
      return Promise.resolve();
    },
  );

  it('writes a row and the decision that it is about together, or neither', () => {
    const journal = new Journal(':memory:');
    const ledger = new SqliteLedger(journal);
    const row = ledgerRow();
    journal.transaction(() => ledger.swapNow(null, row));
    assert.throws(() =>
      journal.transaction(() => {
        assert.deepEqual(ledger.swapNow(row, later(row)), { written: true });
        throw new Error('the decision could not be written');
      }),
    );
    assert.equal(ledger.readNow(row.vm)?.sequence, 0);
    journal.close();
  });
});
