/** Statements that a host has its TPM quote (SPEC 4.3, 6.10), and cases of them that differ from a good one in what is said. */
import type { MerklePath } from '../../lib/evidence/merkle.ts';
import { prepareBatch } from '../../lib/proof/signing.ts';
import type { PcrSelection } from '../../lib/tpm/port.ts';
import type { ChainBuilder, World, WorldHost, WorldPolicy } from './proof-world.ts';
import type { QuoteFlaws } from './software-tpm.ts';

/** How a quoted statement departs from what an honest host would have quoted. */
export interface StatementFlaws {
  /** Who it says it is of, and whose TPM quotes. */
  readonly host?: WorldHost;
  readonly signer?: WorldHost;
  readonly policy?: WorldPolicy;
  readonly selection?: PcrSelection;
  readonly quote?: QuoteFlaws;
  /** What is quoted in place of the statement. */
  readonly statement?: Uint8Array;
}

/** A quote, and the place of the statement in what it covers. */
export interface QuotedStatement {
  readonly path: MerklePath;
  readonly attest: Uint8Array;
  readonly signature: Uint8Array;
}

/** Has the TPM of `host` quote a statement, and beside it what waits with it. */
export function quoted(
  statement: Uint8Array,
  by: { readonly host: WorldHost; readonly policy: WorldPolicy },
  flaws: StatementFlaws,
  beside: { readonly entries?: readonly Uint8Array[]; readonly statements?: readonly Uint8Array[] } = {},
): QuotedStatement {
  const { entries = [], statements = [] } = beside;
  const batch = prepareBatch(entries, [flaws.statement ?? statement, ...statements]);
  const { attest, signature } = (flaws.signer ?? by.host).tpm.quote(
    batch.qualifyingData,
    flaws.selection ?? by.policy.policy.selection,
    flaws.quote,
  );
  const path = flaws.quote?.type === undefined ? batch.finish(attest, signature).statementPaths[0] : [];
  return { path: path ?? [], attest, signature };
}

type MadeCase<Expected, Said> = {
  readonly name: string;
  readonly why: string;
  readonly expect: Expected;
  readonly build: (world: World) => Promise<{ readonly chain: ChainBuilder } & Said>;
};

/** Makes cases that differ from the good one in the flaws of what is said about the same chain. */
export function saidAbout<Flaws, Said>(
  chainOf: (world: World) => ChainBuilder,
  say: (chain: ChainBuilder, flaws: Flaws | undefined) => Said,
) {
  return <const Expected extends string>(
    name: string,
    why: string,
    expect: Expected,
    flaws?: (world: World, chain: ChainBuilder) => Flaws | Promise<Flaws>,
  ): MadeCase<Expected, Said> => ({
    name,
    why,
    expect,
    build: async (world) => {
      const chain = chainOf(world);
      return { chain, ...say(chain, await flaws?.(world, chain)) };
    },
  });
}
