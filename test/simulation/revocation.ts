/** Revocation lists in a simulated world: signed by its authority, verified and compared as agents do; only their files are missing. */
import {
  compareRevocations,
  decodeRevocations,
  signRevocations,
  verifySignedRevocations,
} from '../../lib/appraisal/revocation.ts';
import type { RevocationList } from '../../lib/appraisal/revocation.ts';
import type { RevocationsInForce } from '../../lib/migration/host.ts';
import type { World, WorldHost } from '../support/proof-world.ts';
import { worldStart } from '../support/proof-world.ts';

/** The list that one host has. */
export class HeldList {
  readonly #world: World;
  inForce: RevocationsInForce | null = null;

  constructor(world: World) {
    this.#world = world;
  }

  /** Takes a newer list; an older one is no news. Throws `policy-invalid`. */
  learn(envelope: string): void {
    const { root, policySigner } = this.#world.authority;
    const at = new Date(worldStart);
    if (decodeRevocations(envelope).version < (this.inForce?.list.version ?? 0)) return;
    const list: RevocationList = verifySignedRevocations(envelope, { root, signers: [policySigner], at });
    if (compareRevocations(this.inForce?.list ?? null, list) === 'newer') this.inForce = { list, envelope };
  }
}

/** The authority's next list, with these hosts, revoked since so many milliseconds after the world began. */
export function revocationsOf(
  world: World,
  version: number,
  hosts: readonly WorldHost[],
  sinceMs: number,
): string {
  const since = new Date(worldStart + Math.floor(sinceMs));
  return signRevocations(
    {
      version,
      issuedAt: since,
      hosts: hosts.map(({ id }) => ({ host: id.name, akName: id.akName, since, reason: 'key-compromise' })),
    },
    world.authority.policyKeys,
  );
}
