import { approvedState, quoteOf } from '../appraisal/quote.ts';
import type { PolicyState } from '../appraisal/policy.ts';
import { bytesEqual } from '../bytes/compare.ts';
import { keyOfSpki } from '../certificates/public-key.ts';
import { TvmmpError } from '../errors.ts';
import type { ClaimedPcr } from '../evidence/claim.ts';
import type { OwnSealedKey, ReceiveKeyApproval, ReceiveKeyUse, TpmCost } from '../native/bridge.ts';
import { RECEIVE_KEY_HANDLE } from '../tpm/handles.ts';
import { formatPcrSelection } from '../tpm/pcr-selection.ts';
import { policyKeyPublicArea, pcrDigest } from '../tpm/policy.ts';
import { ecdsaFromP1363, formatSignature } from '../tpm/signature.ts';
import type { Host } from './host.ts';
import { Refused } from './refused.ts';
import type { Opener, Sealed } from './held-keys.ts';
import type { KeyTurns } from './key-turns.ts';
import type { Timer } from './timers.ts';

/** After a key was opened, until the next opening is prepared: what the hand-over wants of the TPM comes first. */
const prepareAfterMs = 50;

interface Cached {
  readonly policyDigest: Uint8Array;
  readonly approval: ReceiveKeyApproval;
}

/**
 * This host's own platform state: which of the policy's approved states it is in, and the TPM's ticket that lets the
 * receive key be used in it (SPEC 5.2). The ticket is asked for once per policy, not once per migration.
 */
export class Platform implements Opener {
  readonly #host: Host;
  readonly #turns: KeyTurns;
  /** Whether a hand-over that is being made wants the TPM, now or in a moment. */
  readonly #isWanted: () => boolean;
  /** TPM commands of the bridge so far; those of the port are its own count. */
  bridgeCommands = 0;
  #cached: Cached | null = null;
  /** Keys that are being opened. */
  #opening = 0;
  #preparation: Timer | null = null;
  #ended = false;

  constructor(host: Host, turns: KeyTurns, isWanted: () => boolean) {
    this.#host = host;
    this.#turns = turns;
    this.#isWanted = isWanted;
  }

  /** Has the TPM ready to open a key by one command (SPEC 5.2), now and after each one that was opened. */
  prepare(): void {
    if (this.#ended || this.#preparation !== null) return;
    this.#preparation = this.#host.timers.after(prepareAfterMs, () => {
      this.#preparation = null;
      if (this.#opening > 0 || this.#isWanted()) this.prepare();
      else void this.#prepareNow();
    });
  }

  /** Leaves nothing behind in the TPM; where the TPM is away, the next agent does that. */
  async end(): Promise<void> {
    this.#ended = true;
    this.#preparation?.stop();
    try {
      await this.#host.bridge.unprepareReceiveKey();
    } catch (error) {
      this.#host.log.debug({ error: String(error) }, 'the TPM was left prepared');
    }
  }

  /** Where the TPM refuses or fails, opening a key will say so. */
  async #prepareNow(): Promise<void> {
    try {
      this.#counted(await this.#host.bridge.prepareReceiveKey(await this.#use()));
    } catch (error) {
      this.#host.log.debug({ error: String(error) }, 'the TPM could not be prepared');
    }
  }

  /** Everything that the bridge needs to open a VM's sealed key. Throws `Refused` in an unapproved state. */
  async ownKey(vm: Sealed): Promise<OwnSealedKey> {
    if (vm.sealed === null || vm.context === null) {
      throw new Refused(`this host does not hold the vTPM key of ${vm.name}`);
    }
    return { ...(await this.#use()), blob: vm.sealed, context: vm.context };
  }

  async #use(): Promise<ReceiveKeyUse> {
    return {
      tcti: this.#host.settings.tcti,
      receiveKeyHandle: RECEIVE_KEY_HANDLE,
      receivePublic: this.#host.identity.receivePublic,
      approval: await this.#approval(),
    };
  }

  /**
   * Runs an operation with a VM's key; once more after a look at the PCRs when the TPM refused (an approved update). `hold`: of a use of the TPM that
   * this one was expected by.
   */
  async withKey<T extends TpmCost>(
    vm: Sealed,
    use: (own: OwnSealedKey) => Promise<T>,
    hold: number | null = null,
  ): Promise<T> {
    this.#opening += 1;
    try {
      return await this.#turns.first(() =>
        this.#withKey(vm, (own) => use(hold === null ? own : { ...own, hold })),
      );
    } finally {
      this.#opening -= 1;
      this.prepare();
    }
  }

  /** Has the TPM open the envelope of a VM's key for operations to come, which name the number. */
  async hold(vm: Sealed, lifeMs: number): Promise<number> {
    const { hold } = await this.withKey(vm, (own) => this.#host.bridge.holdKeys({ own, lifeMs }));
    return hold;
  }

  release(hold: number): void {
    this.#host.bridge.releaseKeys({ hold });
  }

  async #withKey<T extends TpmCost>(vm: Sealed, use: (own: OwnSealedKey) => Promise<T>): Promise<T> {
    return this.whenApproved(async () => this.#counted(await use(await this.ownKey(vm))));
  }

  /** Runs something that an approved state alone allows; once more after a look at the PCRs when the TPM refused. */
  async whenApproved<T>(use: (approval: ReceiveKeyApproval) => Promise<T>): Promise<T> {
    const cached = this.#cached;
    try {
      return await use(await this.#approval());
    } catch (error) {
      if (!(error instanceof TvmmpError) || error.code !== 'seal-refused') throw error;
      this.#cached = null;
      const again = await this.#approval();
      if (cached !== null && bytesEqual(again.approvedPolicy, cached.approval.approvedPolicy)) throw error;
      return use(again);
    }
  }

  #counted<T extends TpmCost>(result: T): T {
    this.bridgeCommands += result.tpmCommands;
    return result;
  }

  /** Why this host itself is in no approved state, or null: what a peer's refusal most likely means. */
  async ownFault(): Promise<string | null> {
    try {
      await this.#currentState();
      return null;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  /** PCR values to tell a peer next to a quote: those of the approved state that it shows, or else read anew. */
  async claimedPcrs(attest: Uint8Array): Promise<readonly ClaimedPcr[]> {
    const { policy } = this.#host.policy();
    const quote = quoteOf(attest);
    const state = quote.type === 'quote' ? approvedState(quote, policy) : undefined;
    if (state !== undefined) {
      return [...state.pcrs].map(([index, value]) => ({ bank: 'sha256', index, value }));
    }
    const { values } = await this.#host.tpm.readPcrs(policy.selection);
    return values.map(({ bank, pcr, digest }) => ({ bank, index: pcr, value: digest }));
  }

  async #approval(): Promise<ReceiveKeyApproval> {
    const { policy } = this.#host.policy();
    if (this.#cached !== null && bytesEqual(this.#cached.policyDigest, policy.digest))
      return this.#cached.approval;
    const state = await this.#currentState();
    const publicArea = policyKeyPublicArea(keyOfSpki(policy.signerSpki));
    const signature = formatSignature(ecdsaFromP1363(state.approval, 'sha256'));
    const { ticket, keyName } = await this.#host.tpm.verifyPolicyApproval(
      publicArea,
      state.approvedPolicy,
      policy.policyRef,
      signature,
    );
    const approval = {
      pcrSelection: formatPcrSelection(policy.selection),
      approvedPolicy: state.approvedPolicy,
      policyRef: policy.policyRef,
      keySignName: keyName,
      ticket,
    };
    this.#cached = { policyDigest: policy.digest, approval };
    return approval;
  }

  async #currentState(): Promise<PolicyState> {
    const { policy } = this.#host.policy();
    const { values } = await this.#host.tpm.readPcrs(policy.selection);
    const digest = pcrDigest(policy.selection, values);
    const state = policy.states.find((candidate) => bytesEqual(candidate.pcrDigest, digest));
    if (state !== undefined) return state;
    const known = policy.states[0]?.pcrs ?? new Map<number, Uint8Array>();
    const differing = values
      .filter(({ pcr, digest: value }) => !bytesEqual(known.get(pcr) ?? new Uint8Array(), value))
      .map(({ pcr }) => `PCR ${pcr}`);
    throw new Refused(
      `pcr-state: ${this.#host.identity.id.name} is in no approved state of policy ${policy.id} v${policy.version} ` +
        `(${differing.join(', ')} ${differing.length === 1 ? 'differs' : 'differ'} from state ` +
        `${policy.states[0]?.name ?? 'none'}); boot an approved system, or have the authority approve this state`,
    );
  }
}
