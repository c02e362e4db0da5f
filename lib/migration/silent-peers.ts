/** Hosts that attested themselves here and do not any more (SPEC 16.4): whoever keeps quiet has something to say, or lies on the floor. */
import { hex } from '../encoding/hex.ts';
import type { Host } from './host.ts';
import { peerStandings } from './peer-standing.ts';
import type { Timer } from './timers.ts';

/** After how many of the periods in which a host attests itself it counts as silent. */
const periods = 3;

/** Between two looks. */
const lookMs = 10_000;

/** Since when nothing was heard of a host: by `Timers.elapsed`, for an attestation of this time. */
interface Heard {
  readonly time: number;
  at: number;
  isSilent: boolean;
}

/**
 * Tells whose attestation is overdue. It takes nothing away: a host is judged by what it shows, and one that is not heard may be cut off. Silence counts
 * while this agent runs and listens, under one policy, by a clock that nobody sets.
 */
export class SilentPeers {
  readonly #host: Host;
  readonly #heard = new Map<string, Heard>();
  #policy = '';
  #timer: Timer | null = null;

  constructor(host: Host) {
    this.#host = host;
  }

  start(): void {
    this.look();
    this.#timer = this.#host.timers.every(lookMs, () => {
      this.look();
    });
  }

  stop(): void {
    this.#timer?.stop();
  }

  /** Names of the hosts that are silent. */
  status(): ReadonlySet<string> {
    return new Set([...this.#heard].flatMap(([name, { isSilent }]) => (isSilent ? [name] : [])));
  }

  look(): void {
    const { policy, timers, log } = this.#host;
    const { quarantine, id, version } = policy().policy;
    const now = timers.elapsed();
    const inForce = `${id} ${version}`;
    if (quarantine === undefined || inForce !== this.#policy) this.#heard.clear();
    this.#policy = inForce;
    if (quarantine === undefined) return;
    const expected = this.#expected();
    for (const name of this.#heard.keys()) if (!expected.has(name)) this.#heard.delete(name);
    for (const [name, time] of expected) {
      const heard = this.#heard.get(name);
      if (heard?.time !== time) {
        if (heard?.isSilent === true) log.info({ peer: name }, 'a host that was silent attests itself again');
        this.#heard.set(name, { time, at: now, isSilent: false });
      } else if (!heard.isSilent && now - heard.at > periods * quarantine.everySeconds * 1000) {
        heard.isSilent = true;
        const last = new Date(time).toISOString();
        log.warn({ peer: name, last }, 'a host that attested itself here has fallen silent');
      }
    }
  }

  /** When each host attested itself last, of those that are to go on with it: one that is revoked need not. */
  #expected(): ReadonlyMap<string, number> {
    const revoked = new Set(this.#host.revocations()?.list.hosts.map(({ akName }) => hex(akName)));
    return new Map(
      peerStandings(this.#host).flatMap(({ host, ak, time }) =>
        ak !== undefined && revoked.has(ak) ? [] : [[host, time] as const],
      ),
    );
  }
}
