import { TvmmpError } from '../errors.ts';
import type { VmRecord } from '../ledger/records.ts';
import { limits } from '../limits.ts';
import { isApprovedNow } from './approved-now.ts';
import { describeDomain } from './domain.ts';
import type { ProtectedDomain } from './domain.ts';
import { checkFacts, giveKeyToLibvirt } from './incoming.ts';
import { Refused } from './refused.ts';
import type { Services } from './services.ts';
import type { Sessions } from './sessions.ts';
import type { TargetSession } from './target-session.ts';

/**
 * The second lock (SPEC 8.1): an incoming protected VM enters only with a permit of a completed session. Opens that session
 * itself when the source did not (plain `virsh migrate`).
 */
export class Admission {
  readonly #services: Services;
  readonly #sessions: Sessions;
  #underWay = 0;

  constructor(services: Services, sessions: Sessions) {
    this.#services = services;
    this.#sessions = sessions;
  }

  /** Answers `migrate begin`: resolves when the VM may come in, throws `Refused` or a fault when it may not. */
  async admit(xml: string): Promise<void> {
    const domain = describeDomain(xml, this.#services.host.journal);
    if (domain === null) return;
    if (this.#underWay >= limits.admissionsMax) {
      throw new Refused(`busy: ${this.#underWay} protected VMs are coming in already; try again in a moment`);
    }
    this.#underWay += 1;
    try {
      await this.#admitProtected(domain);
    } finally {
      this.#underWay -= 1;
    }
  }

  async #admitProtected(domain: ProtectedDomain): Promise<void> {
    const { host } = this.#services;
    const promised = await this.#promised(domain);
    const session = promised ?? (await this.#open(domain));
    const permit = host.journal.permit(domain.uuid);
    const record = host.journal.vm(domain.uuid);
    if (permit === null || record === null) {
      throw new TvmmpError('internal', `VM ${domain.name} was admitted without a permit`);
    }
    checkFacts(permit.facts, domain.facts);
    if (!host.journal.consumePermit(domain.uuid, session.session, host.now())) {
      throw new Refused(`the permit of ${domain.name} was used or has expired; start the migration again`);
    }
    if (promised !== null) {
      const named = { ...record, name: domain.name, secret: domain.secret };
      host.journal.putVm(named);
      await this.#giveKey(named, promised);
    }
    if (session.state.tag !== 'staged')
      throw new Refused(`the migration of ${domain.name} was given up meanwhile; start it again`);
    if (domain.agent !== null) this.#services.admitted.set(domain.uuid, domain.agent);
  }

  /** Where the TPM opened the key ahead of libvirt's question, it is asked now whether it still would (SPEC 5.2). */
  async #giveKey(vm: VmRecord, promised: TargetSession): Promise<void> {
    const { keyTurns, keys, opening } = this.#services;
    try {
      await keyTurns.first(async () => {
        await opening.join();
        const [held, approved] = await Promise.all([
          keys.of(promised.session, vm),
          keys.expects(promised.session) && isApprovedNow(this.#services),
          promised.anchored(),
        ]);
        await giveKeyToLibvirt(this.#services, vm, approved ? held : null);
      });
    } finally {
      promised.forgetKey();
    }
  }

  /**
   * The session in which the source has promised this VM. A promise stands while its source is connected and is the one that the VM comes from: it may
   * have taken it back since (SPEC 6.9), which this host has not heard. One that does not stand is ended first, as if its permit had expired.
   */
  async #promised({ uuid, name, agent }: ProtectedDomain): Promise<TargetSession | null> {
    const promised = this.#sessions.stagedFor(uuid);
    if (promised === null) return null;
    const address = this.#services.host.journal.session(promised.session)?.address;
    if (promised.connected && agent !== null && agent === address) return promised;
    await promised.input({ kind: 'lost' });
    if (this.#sessions.stagedFor(uuid) === null) return null;
    throw new Refused(`an earlier migration of ${name} to this host is not over (tvmmp migration list)`);
  }

  async #open(domain: ProtectedDomain) {
    if (domain.agent === null) {
      throw new Refused(
        `the metadata of ${domain.name} names no tvmmp agent; protect it at its source (tvmmp vm protect)`,
      );
    }
    if (domain.agent === this.#services.host.settings.advertise) {
      throw new Refused(
        `the metadata of ${domain.name} names this host's own agent, not its source's; try again in a moment`,
      );
    }
    const session = await this.#sessions.come(domain.uuid, domain, domain.agent);
    const timer = this.#services.host.timers.after(limits.sessionDeadlineMs, () => {
      void session.fail(new TvmmpError('peer-timeout', `no agreement with ${domain.agent ?? ''} in time`));
    });
    try {
      await session.admitted;
    } finally {
      timer.stop();
    }
    return session;
  }
}
